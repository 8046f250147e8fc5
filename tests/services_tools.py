"""What the tests of the local services share."""

from __future__ import annotations

import time
from collections.abc import Callable


def become_true(happens: Callable[[], bool], deadline: float = 10.0) -> bool:
    """Wait until something happens; False if it does not within so many seconds."""
    end = time.monotonic() + deadline
    while not happens():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
