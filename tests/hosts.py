"""Ray is an extra: most environments of the course lack it."""

from __future__ import annotations

import importlib.util
import multiprocessing

import pytest

with_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None
    or "forkserver" not in multiprocessing.get_all_start_methods(),
    reason="Ray is an extra, which this environment lacks: `make test-ray` makes one that has it",
)
