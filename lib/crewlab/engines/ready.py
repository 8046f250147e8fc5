"""How a worker of an engine tells that it can take requests."""

from __future__ import annotations

import os
from pathlib import Path


def say_ready() -> None:
    """Leave this worker's mark."""
    (Path(os.environ["CREWLAB_READY"]) / str(os.getpid())).touch()
