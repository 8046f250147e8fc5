"""What a system or an environment must have to host an engine; a test without it is skipped."""

from __future__ import annotations

import importlib.util
import multiprocessing
import socket

import pytest

_FORKS = "forkserver" in multiprocessing.get_all_start_methods()

can_fork = pytest.mark.skipif(not _FORKS, reason="the engines fork their workers")
with_ray = pytest.mark.skipif(
    not _FORKS or importlib.util.find_spec("ray") is None,
    reason="Ray is an extra, which this environment lacks: `make test-ray` makes one that has it",
)


def free_port() -> int:
    """Give a port of the loopback interface that nobody has right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
