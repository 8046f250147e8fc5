"""The supervisor's view of one replica: its process, its pipe, what it works on."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from crewlab.deployment.launch import Handle, Launcher, kill_group
from crewlab.deployment.plan import ReplicaPlan
from crewlab.deployment.scratch import forget_process, remember_process
from crewlab.memory import resident
from crewlab.results.records import ReplicaRecord, Sample

LOG_TAIL = 64 * 1024
BETWEEN_SAMPLES = 0.1  # s
SIGTERM = "sigterm"
FIRST_BACK_OFF = 0.1  # s; a hundredth of Kubernetes': a kubelet waits 10 s, doubled, at most 300 s
LONGEST_BACK_OFF = 3.0  # s

Post = Callable[[tuple[Any, ...]], None]


class Member:
    """One replica through all its starts.

    Attributes:
        record: what the run will say of it.
        state: "starting", "ready", "terminating", "backing-off" or "down".
        in_flight: numbers of the requests it has and has not answered.
        given: how many requests it was given since its start.
        taken: how many of these a thread of it has begun to work on.
        has_hung_up: everything its process ever said has been read.
        restart_at: when its back-off ends (``time.monotonic``), while "backing-off".
        kill_at: when its grace period ends, while "terminating".
    """

    def __init__(self, name: str, index: int, threads: int) -> None:
        self.record = ReplicaRecord(name)
        self.index = index
        self.threads = threads
        self.state = "down"
        self.in_flight: set[int] = set()
        self.given = self.taken = 0
        self.has_hung_up = False
        self.restart_at = self.kill_at = 0.0
        self.started_at = 0.0
        self.generation = 0
        self._sample_at = 0.0
        self.killed_for: str | None = None
        self._handle: Handle | None = None
        self._outbox: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        self._plan: ReplicaPlan | None = None
        self._process: psutil.Process | None = None
        self._connection: Connection | None = None
        self._talkers: list[threading.Thread] = []

    def start(self, launcher: Launcher, plan: ReplicaPlan, post: Post) -> None:
        """Start its process; what it says is posted as ``(index, generation, message)``."""
        self.generation += 1
        self.state, self.killed_for, self._plan = "starting", None, plan
        self.has_hung_up = False
        self.given = self.taken = 0
        self.started_at = time.monotonic()
        self._handle, connection = launcher.start(plan)
        remember_process(self._handle.pid)
        with contextlib.suppress(psutil.Error):
            self._process = psutil.Process(self._handle.pid) if self._handle.pid else None
        self._outbox = queue.SimpleQueue()
        self._connection = connection
        # Threads of their own do the blocking: a stopped replica must not stop the supervisor.
        listen = (connection, post, self.index, self.generation)
        self._talkers = [
            threading.Thread(target=_listen, args=listen, daemon=True),
            threading.Thread(target=_speak, args=(connection, self._outbox), daemon=True),
        ]
        for talker in self._talkers:
            talker.start()

    @property
    def free_threads(self) -> int:
        """How many more requests it can take now."""
        return self.threads - len(self.in_flight) if self.state == "ready" else 0

    def give(self, number: int, inputs: dict[str, Any]) -> None:
        """Send it a request."""
        self.in_flight.add(number)
        self.given += 1
        self._outbox.put(("request", number, inputs))

    @property
    def pid(self) -> int:
        """Number of its process, 0 if it has none."""
        return self._handle.pid if self._handle else 0

    def exit_code(self) -> int | None:
        """Give the code its process ended with, as a shell reports it, or None while it runs."""
        code = self._handle.exit_code() if self._handle else 0
        return code if code is None or code >= 0 else 128 - code

    def watch_memory(self) -> float:
        """Read and remember its resident memory, MiB."""
        if self._process is None:
            return 0.0
        with contextlib.suppress(psutil.Error):
            memory = resident(self._process)
            self.record.peak_memory = max(self.record.peak_memory, memory)
            return memory
        return 0.0

    def sample(self, seconds: float, *, is_last: bool = False) -> None:
        """Remember what its process holds, unless that was done a moment ago.

        Args:
            seconds: since the release of all requests.
            is_last: remember it however short ago the one before was.
        """
        if self._process is None or self.killed_for:
            return
        if time.monotonic() < self._sample_at and not is_last:
            return
        self._sample_at = time.monotonic() + BETWEEN_SAMPLES
        with contextlib.suppress(psutil.Error), self._process.oneshot():
            sample = Sample(
                seconds=seconds,
                memory=resident(self._process),
                files=self._process.num_fds() if hasattr(self._process, "num_fds") else 0,
                threads=self._process.num_threads(),
                start=self.generation,
            )
            if sample.memory:  # a process that is just ending holds nothing any more
                self.record.samples.append(sample)

    def kill(self, reason: str) -> None:
        """Kill its process group with SIGKILL."""
        self.killed_for = self.killed_for or reason
        if self._handle is not None:
            kill_group(self._handle.pid)

    def ask_to_stop(self) -> None:
        """Tell it to end; a healthy replica does so at once."""
        self._outbox.put(("stop",))

    def terminate(self, grace: float) -> None:
        """Send it SIGTERM, and nothing more to do; without a grace period kill it.

        Args:
            grace: seconds it may take.
        """
        self.state = "terminating"
        self.kill_at = time.monotonic() + grace
        if grace <= 0:
            self.kill("evicted")
        elif self._handle is not None:
            self._outbox.put((SIGTERM, self._handle.pid))  # after the requests it was given

    def back_off(self) -> None:
        """Wait with the next start, twice as long after each restart."""
        self.state = "backing-off"
        pause = min(FIRST_BACK_OFF * 2**self.record.restarts, LONGEST_BACK_OFF)
        self.restart_at = time.monotonic() + pause

    def end_the_rest(self) -> None:
        """After its process has ended: kill what that had started, a process pool for instance."""
        if self._handle is not None:
            kill_group(self._handle.pid, ended=True)

    def clean_up(self) -> None:
        """After its process has ended or was killed: free the process, keep its log."""
        if self._handle is None or self._plan is None:
            return
        kill_group(self._handle.pid, ended=self._handle.exit_code() is not None)
        self._handle.reap(timeout=2.0)
        forget_process(self._handle.pid)
        self._outbox.put(None)
        for talker in self._talkers:
            talker.join(timeout=1.0)
        if self._connection is not None:
            self._connection.close()
        self._handle = None
        self._keep_log(self._plan.log)
        shutil.rmtree(self._plan.folder, ignore_errors=True)

    def _keep_log(self, path: Path) -> None:
        with contextlib.suppress(OSError), path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_TAIL))
            text = file.read().decode("utf-8", errors="replace")
            header = f"--- start {self.generation} ---\n" if self.generation > 1 else ""
            self.record.log = (self.record.log + header + text)[-LOG_TAIL:]


def signal_name(exit_code: int) -> str:
    """Name the signal behind an exit code above 128, or give an empty text."""
    with contextlib.suppress(ValueError):
        return signal.Signals(exit_code - 128).name if exit_code > 128 else ""
    return ""


def _listen(connection: Connection, post: Post, index: int, generation: int) -> None:
    while True:
        try:
            message = connection.recv()
        except Exception:  # closed, or garbage from a process that died while writing
            post((index, generation, ("closed",)))
            return
        post((index, generation, message))


def _speak(connection: Connection, outbox: queue.SimpleQueue[tuple[Any, ...] | None]) -> None:
    while (message := outbox.get()) is not None:
        try:
            if message[0] == SIGTERM:
                os.kill(message[1], signal.SIGTERM)
            else:
                connection.send(message)
        except OSError:
            return
