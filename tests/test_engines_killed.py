"""What becomes of requests whose worker is killed while it works, behind gunicorn and uvicorn.

The row of chapter 13 that says so is tested here; Celery's part of it is in ``test_engines.py``.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from crewlab import Eviction, scale
from crewlab.engines import gunicorn, uvicorn
from tests.hosts import can_fork

pytestmark = [
    can_fork,
    pytest.mark.timeout(600),
]
PATIENCE = 300.0  # s

HOLDING = """
import os
import time
from pathlib import Path

NOTES = Path(os.environ["NOTES"])


def note(name, line):
    with (NOTES / name).open("a") as file:
        file.write(line + "\\n")


def lines(name):
    path = NOTES / name
    return path.read_text().splitlines() if path.exists() else []


note("started", str(os.getpid()))


def run(inputs):
    note("begun", f"{os.getpid()} {inputs['company']}")
    while not (NOTES / "go").exists() or len(lines("started")) < inputs.get("workers", 0):
        time.sleep(0.02)
    return f"Report on {inputs['company']} by {os.getpid()}"
"""
"""Holds each request until the file "go" is there, and so many workers have started."""


class Notes:
    """What the app has noted, and the app.

    Attributes:
        victim: the worker that was killed.
        accepted: how many requests it had accepted, begun or not.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.app = folder / "app.py"
        self.app.write_text(HOLDING, encoding="utf-8")
        self.options: dict[str, Any] = {"env": {"NOTES": str(folder)}, "timeout": PATIENCE}
        self.victim = self.accepted = 0

    def begun(self) -> dict[str, int]:
        """Give the process that has begun each company's request."""
        lines = [line.split(" ", 1) for line in self._lines("begun")]
        return {company: int(pid) for pid, company in lines}

    def workers(self) -> list[int]:
        """Give the processes that have imported the app."""
        return [int(line) for line in self._lines("started")]

    def let_go(self) -> None:
        """Let the app answer."""
        (self.folder / "go").touch()

    @contextmanager
    def kill_a_worker(self, *, begun: int = 1, accepted: int) -> Iterator[None]:
        """Kill the worker that has the first request, once so many are begun and accepted."""

        def kill() -> None:
            wait_until(lambda: len(self.begun()) >= begun and self._all_accepted() == accepted)
            self.victim = next(iter(self.begun().values()))
            self.accepted = connections(self.victim)
            os.kill(self.victim, signal.SIGKILL)
            self.let_go()

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            yield
        finally:
            killer.join()

    def _all_accepted(self) -> int:
        return sum(map(connections, self.workers()))

    def _lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def connections(pid: int) -> int:
    """Count the requests that a worker has accepted and not answered."""
    found = psutil.Process(pid).net_connections(kind="tcp")
    return sum(one.status == psutil.CONN_ESTABLISHED for one in found)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path)


LATER = [{"company": f"Later{number}"} for number in range(2)]


def test_all_that_a_killed_gunicorn_worker_has_accepted_fails_and_a_new_worker_comes(
    notes: Notes,
) -> None:
    """Two threads have begun two requests; the other three wait inside the worker."""
    with notes.kill_a_worker(begun=2, accepted=5):
        run = gunicorn(notes.app, replicas=1, threads=2, requests=5, then=LATER, **notes.options)
    assert [record.kind for record in run.requests] == ["lost"] * 5 + ["ok"] * 2
    assert "closed the connection without an answer" in (run.requests[0].error or "")
    assert notes.victim not in {notes.begun()[later["company"]] for later in LATER}


def test_scale_loses_no_more_than_what_was_begun(notes: Notes) -> None:
    """The difference to gunicorn and uvicorn that chapter 13 speaks of."""

    def let_go_when_replaced() -> None:
        wait_until(lambda: len(notes.workers()) == 2)
        notes.let_go()

    both_begun = Eviction(0, when=lambda: len(notes.begun()) == 2)
    waiting = threading.Thread(target=let_go_when_replaced)
    waiting.start()
    run = scale(notes.app, replicas=1, threads=2, requests=5, evict=[both_begun], **notes.options)
    waiting.join()
    run.expect(ok=3, lost=2)


def test_what_the_other_gunicorn_worker_has_accepted_is_answered(notes: Notes) -> None:
    with notes.kill_a_worker(accepted=6):
        run = gunicorn(notes.app, replicas=2, threads=1, requests=6, **notes.options)
    run.expect(ok=6 - notes.accepted, lost=notes.accepted)


@pytest.mark.whole
def test_uvicorn_replaces_a_killed_worker_where_there_are_several(notes: Notes) -> None:
    later = [{**inputs, "workers": 3} for inputs in LATER]
    with notes.kill_a_worker(accepted=6):
        run = uvicorn(notes.app, replicas=2, threads=1, requests=6, then=later, **notes.options)
    kinds = [record.kind for record in run.requests]
    assert kinds[:6].count("lost") == notes.accepted
    assert kinds[:6].count("ok") == 6 - notes.accepted
    assert kinds[6:] == ["ok", "ok"], "once a third worker has come"


def test_a_single_uvicorn_worker_is_the_whole_service(notes: Notes) -> None:
    with notes.kill_a_worker(begun=2, accepted=3):
        run = uvicorn(notes.app, replicas=1, threads=2, requests=3, then=LATER, **notes.options)
    run.expect(lost="all")
    # Reset: a connection that came between the end of the worker and that of its socket.
    said = run.requests[-1].error or ""
    assert "ConnectionRefusedError" in said or "ConnectionResetError" in said
