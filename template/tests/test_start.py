"""Importing does nothing but import, and jobs leave nothing behind."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from service.jobs import Job
from service.settings import Settings
from tests.stand_ins import Model

IMPORT = """
import os, threading
before = threading.active_count()
import service.app
print(threading.active_count() - before)
"""


def test_importing_the_service_asks_nobody(model: Model, variables: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT],
        env={**os.environ, **variables},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert model.asked == 0
    assert int(done.stdout.split()[-1]) == 0  # a thread would not survive a fork


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc, as Linux has it")
def test_jobs_leave_no_thread_and_no_file_behind(
    model: Model, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from service.crew import write_report

    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = Settings()  # type: ignore[call-arg]

    def held() -> tuple[int, int]:
        gc.collect()
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    def work(jobs: int) -> None:
        for number in range(jobs):
            write_report(settings, Job(company="Aldermoor", key=str(number)))

    model.latency = 0
    work(5)
    threads, files = held()
    work(20)
    more_threads, more_files = held()
    # A leak would be one a job: see chapter 07.
    assert more_threads - threads < 10
    assert more_files - files < 10
