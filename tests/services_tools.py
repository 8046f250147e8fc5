"""What the tests of the local services share."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator

from crewlab.services import Services, start


@contextlib.contextmanager
def running_services() -> Iterator[Services]:
    """Have the services of this process, with their environment set, and end them afterwards."""
    before = dict(os.environ)
    services = start()
    os.environ.update(services.environment)
    try:
        yield services
    finally:
        services.stop()
        os.environ.clear()
        os.environ.update(before)


def become_true(happens: Callable[[], bool], deadline: float = 10.0) -> bool:
    """Wait until something happens; False if it does not within so many seconds."""
    end = time.monotonic() + deadline
    while not happens():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
