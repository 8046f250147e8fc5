"""The processes of one engine, from their start to the last one gone.

What is ours is the process an engine's command runs in: it comes from the fork server, which has
imported CrewAI already, so that a start takes about a second and not six. From there on it runs
what the command runs, with a master and workers of its own.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
import multiprocessing
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from crewlab.deployment.container import make_container
from crewlab.deployment.launch import Target, kill_group, start_server
from crewlab.deployment.plan import Plan, ReplicaPlan
from crewlab.deployment.scratch import forget_process, remember_process
from crewlab.deployment.tidy import shorten
from crewlab.errors import ToldValueError
from crewlab.memory import resident
from crewlab.results.records import ReplicaRecord

TICK = 0.02  # s
STOP_GRACE = 5.0  # s from SIGTERM to SIGKILL, once every request has its outcome
GONE_AFTER = 5.0  # s that killed processes take at most
LOG_END = 64 * 1024
_RAISED = "Traceback (most recent call last)"


def require(module: str, *, extra: str | None = None, size: str = "") -> None:
    """Say so if an engine cannot run here.

    Args:
        module: what the engine is imported as.
        extra: of the course's package, where the course's environment does not bring it.
        size: of that, on disk.

    Raises:
        ValueError: it is not installed, or this system cannot fork.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        raise ToldValueError(
            f"{module} is not started here: that needs Linux or macOS.\n"
            "Its workers are forked, which this operating system cannot do.\n"
            "Use scale(), or a container with Linux."
        )
    if importlib.util.find_spec(module) is not None:
        return
    if extra is not None:
        raise ToldValueError(
            f"{module} is not installed here.\n"
            f"It takes {size} on disk, so the course's environment comes without it.\n"
            f"In the course's folder run: .venv/bin/uv pip install -e '.[{extra}]'"
        )
    raise ToldValueError(
        f"{module} is not installed here.\n"
        "It is part of the course's environment.\n"
        "Use scale(), or make the environment anew: make lab."
    )


class Host:
    """An engine's master and all processes that come from it, one session.

    A worker that can take requests leaves a file with its process id in the folder ``ready``,
    whose name it finds in ``CREWLAB_READY``: so the engine knows that all of them are there.

    Attributes:
        pid: the master's process id.
        folder: the disk that all its processes share.
        pipe: to the master, where that is a function of ours.
        error: what kept its workers from coming, once that is known.
    """

    def __init__(
        self,
        plan: Plan,
        run_folder: Path,
        command: Sequence[str] | Target,
        *,
        workers: int,
        variables: dict[str, str] | None = None,
        name: str = "server",
        replica: int = 0,
    ) -> None:
        """Start it.

        Args:
            plan: the deployment.
            run_folder: the run's folder, with the app's image in it.
            command: a module that ``python -m`` can run, and its arguments; or a function.
            workers: how many must be ready.
            variables: what its environment needs on top.
            name: of its disk.
            replica: whose environment of the plan it has.
        """
        self.error: str | None = None
        self._workers = workers
        self._run_folder = run_folder
        container = make_container(plan, run_folder, name, plan.env[replica])
        self.folder, self._log = container.folder, container.log
        self._ready = container.folder / "ready"
        self._ready.mkdir()
        container.env.update(
            CREWLAB_APP=str(run_folder / "image" / f"{plan.app.name}.py"),
            CREWLAB_READY=str(self._ready),
            CREWLAB_THREADS=str(plan.threads),
            PYTHONPATH=os.pathsep.join([*container.app_folder, os.environ.get("PYTHONPATH", "")]),
            **(variables or {}),
        )
        if not callable(command):
            command = functools.partial(_run_module, command=list(command))
        self._handle, self.pipe = start_server(command, container)
        self.pid = self._handle.pid
        remember_process(self.pid)

    def wait_until(self, is_ready: Callable[[], bool], deadline: float) -> bool:
        """Wait for every worker, and for something more; `error` says why if it does not come.

        Args:
            is_ready: what must hold as well.
            deadline: of ``time.monotonic``.

        Returns:
            Whether it came.
        """
        while len(self.pids()) < self._workers or not is_ready():
            if self.has_ended() or self._raised() or time.monotonic() > deadline:
                time.sleep(TICK)  # a traceback is written line by line
                if not self.has_ended():
                    self.error = self.error or "it is not ready in time"
                self.error = self._raised() or self.error
                return False
            time.sleep(TICK)
        self.error = self._other_crewai()
        return self.error is None

    def has_ended(self) -> bool:
        """Tell whether the master has ended; `error` says with what."""
        code = self.exit_code()
        if code is not None and self.error is None:
            said = self.log().strip().splitlines() or ["nothing"]
            raised = self._raised()
            last = f"the last error in its log: {raised}" if raised else f"it said last: {said[-1]}"
            self.error = f"it ended with exit code {code}; {last:.300}"
        return code is not None

    def exit_code(self) -> int | None:
        """Give the master's exit code, or None while it runs."""
        return self._handle.exit_code()

    def pids(self) -> list[int]:
        """Give the process ids of the workers that became ready, in that order."""
        marks = [(path.stat().st_mtime_ns, int(path.name)) for path in self._ready.iterdir()]
        return [pid for _, pid in sorted(marks)]

    def log(self) -> str:
        """Give what its processes have written so far."""
        with contextlib.suppress(OSError):
            return self._log.read_text(encoding="utf-8", errors="replace")
        return ""

    def traceback(self) -> str | None:
        """Give the last traceback in its log that leads into the app, or else the last."""
        # A gunicorn whose workers fail together may end with a traceback of its own.
        tracebacks = self.log().split(_RAISED)[1:]
        of_the_app = [said for said in tracebacks if str(self._run_folder) in said]
        last = (of_the_app or tracebacks)[-1:]
        return shorten(_RAISED + last[0], self._run_folder) if last else None

    def records(self, names: Sequence[str]) -> list[ReplicaRecord]:
        """Describe each of the workers that were asked for, as it is now.

        Args:
            names: of the workers; one that never came has the error that kept it away.
        """
        # Where one died, its successor, or who is left, is what there is of the deployment.
        pids = sorted(self.pids(), key=_pid_lives, reverse=True)
        log = self.log()[-LOG_END:]
        found = []
        for number, name in enumerate(names):
            record = ReplicaRecord(name, "Error", log=log)
            if number < len(pids):
                with contextlib.suppress(psutil.Error):
                    record.peak_memory = resident(psutil.Process(pids[number]))
                    record.status, record.ready = "Running", True
            if not record.ready:
                record.error, record.traceback = self.error, self.error and self.traceback()
            found.append(record)
        return found

    def stop(self, grace: float = STOP_GRACE) -> None:
        """End it; nothing of it is left when this returns.

        Args:
            grace: seconds from SIGTERM to SIGKILL; 0 where a worker may hang.
        """
        if grace and self.exit_code() is None:
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGTERM)
            deadline = time.monotonic() + grace
            while self.exit_code() is None and time.monotonic() < deadline:
                time.sleep(TICK)
        deadline = time.monotonic() + GONE_AFTER
        kill_group(self.pid)
        # Ray's workers lead groups of their own; what is forked meanwhile is found the next time.
        while (left := self.processes()) and time.monotonic() < deadline:
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            time.sleep(TICK / 4)
        self._handle.reap(timeout=2.0)
        forget_process(self.pid)
        self.pipe.close()

    def processes(self) -> list[psutil.Process]:
        """Give all its living processes, those included whose parent has died."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if os.getsid(process.pid) == self.pid and _lives(process):
                    found.append(process)
        return found

    def _other_crewai(self) -> str | None:
        """Find a worker whose CrewAI is not the installed one: replaced since it was imported."""
        installed = importlib.metadata.version("crewai")
        for pid in self.pids():
            theirs = (self._ready / str(pid)).read_text(encoding="utf-8")
            if theirs != installed:
                return (
                    f"a worker runs CrewAI {theirs}, and {installed} is installed here:"
                    " restart the kernel"
                )
        return None

    def _raised(self) -> str | None:
        """Find what the traceback of a worker that could not load the app ends with."""
        lines = (self.traceback() or "").splitlines()[1:]
        return next((line for line in lines if line and not line[0].isspace()), None)


def _lives(process: psutil.Process) -> bool:
    """Tell whether a process still runs; one that only waits to be buried does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _pid_lives(pid: int) -> bool:
    try:
        return _lives(psutil.Process(pid))
    except psutil.Error:
        return False


def _run_module(connection: Connection, container: ReplicaPlan, command: list[str]) -> None:
    """Become what ``python -m`` and a command make."""
    from crewlab.deployment import replica

    connection.close()
    replica.enter_container(container)
    nothing = os.open(os.devnull, os.O_RDONLY)  # uvicorn hands descriptor 0 on to its workers
    os.dup2(nothing, 0)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.argv = list(command)
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)
