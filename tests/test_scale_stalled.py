"""A deployment that hangs is told from one that is slow."""

from __future__ import annotations

from pathlib import Path

import pytest

from crewlab import scale
from tests.apps import write_app

HANGS = """
    import threading

    def run(inputs):
        threading.Event().wait()
"""

BUSY = """
    import time

    def run(inputs):
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            sum(range(1000))
        return f"Report on {inputs['company']}."
"""


def test_requests_end_when_no_replica_uses_the_processor(tmp_path: Path) -> None:
    run = scale(
        write_app(tmp_path, HANGS), replicas=2, threads=1, requests=3, timeout=600, stalled_after=1
    )
    run.expect(timeout="all")
    assert {r.error for r in run.requests} == {"no replica has done anything for 1 s"}


def test_who_works_is_waited_for(tmp_path: Path) -> None:
    run = scale(write_app(tmp_path, BUSY), replicas=2, threads=1, requests=2, stalled_after=1)
    run.expect(ok="all")


def test_a_stall_takes_more_than_no_time(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stalled_after"):
        scale(write_app(tmp_path, HANGS), stalled_after=0)
