"""A kernel stopped in the middle of ``scale`` takes everything it started with it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from crewlab.building.kernel import private_environment
from tests.kernels import Kernel, kernel
from tests.processes import MARK, marked, wait_until_empty, wait_until_gone

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")

# The app tells through a file that a request is being worked on, then works on it for good.
APP = """%%app slow
import os, pathlib, time


def run(inputs: dict) -> str:
    pathlib.Path(os.environ["STARTED"]).touch()
    time.sleep(60)
    return inputs["company"]
"""
SCALE = "scale(slow, replicas=2, threads=2, requests=4, timeout=60)"


@dataclass(frozen=True)
class Rooms:
    """Where a kernel runs, and the mark that all it starts inherit."""

    folder: Path

    @property
    def mark(self) -> str:
        return f"{self.folder.name}-{os.getpid()}"

    def pids(self) -> set[int]:
        return {process.pid for process in marked(self.mark)}

    def assert_nothing_is_left(self, seconds: float = 10) -> None:
        assert wait_until_gone(self.mark, seconds) == []
        assert wait_until_empty(self.folder / "tmp") == []


@pytest.fixture
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Rooms:
    return Rooms(tmp_path_factory.mktemp("killed"))


@contextlib.contextmanager
def in_the_middle_of_scale(rooms: Rooms) -> Iterator[tuple[Kernel, set[int]]]:
    """Run a kernel up to where ``scale`` has requests under way; tell who ran before that cell."""
    started = rooms.folder / "started"
    settings = {
        name: value
        for name, value in private_environment(rooms.folder).items()
        if os.environ.get(name) != value
    }
    settings |= {MARK: rooms.mark, "STARTED": str(started)}
    with kernel(Path(settings.pop("CREWLAB_HOME")), **settings) as running:
        ready = running.run("%load_ext crewlab\nfrom crewlab import scale")
        assert ready.status == "ok", ready.error
        assert running.run(APP).status == "ok"
        # Once warm, only the replicas come and go with a cell.
        running.run("scale(slow, replicas=1, requests=1, timeout=0.1);")
        started.unlink(missing_ok=True)
        before = rooms.pids()
        running.client.execute(SCALE)
        wait_for(started.exists, "no request reached a replica")
        assert rooms.pids() - before, "no replica carries the mark"
        yield running, before


def test_an_interrupt_ends_the_replicas_and_the_kernel_goes_on(rooms: Rooms) -> None:
    with in_the_middle_of_scale(rooms) as (running, before):
        running.manager.interrupt_kernel()

        reply = running.client.get_shell_msg(timeout=15)
        assert reply["content"]["status"] == "error"
        assert reply["content"]["ename"] == "KeyboardInterrupt"
        wait_for(lambda: rooms.pids() <= before, "a replica of the interrupted cell lives on")
        assert running.run("print(1 + 1)").text == "2\n"

    rooms.assert_nothing_is_left()


def test_a_killed_kernel_leaves_no_process_and_no_temp_folder(rooms: Rooms) -> None:
    with in_the_middle_of_scale(rooms) as (running, _):
        os.kill(running.manager.provisioner.process.pid, signal.SIGKILL)

        rooms.assert_nothing_is_left()


def wait_for(true: Callable[[], bool], otherwise: str, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)
