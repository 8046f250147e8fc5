"""Starting one process a replica, by each start method, behind one small interface."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Protocol

from crewlab.deployment import replica
from crewlab.deployment.plan import ReplicaPlan, StartMethod
from crewlab.deployment.scratch import remember_process, scratch_folder

Target = Callable[[Connection, ReplicaPlan], None]

_main_module_lock = threading.Lock()


class Handle(Protocol):
    """A started replica process."""

    pid: int

    def exit_code(self) -> int | None:
        """Give the exit code, minus the signal's number if killed, or None while it runs."""

    def reap(self, timeout: float) -> None:
        """Wait for its end, at most ``timeout`` seconds, and free what is held for it."""


class Launcher(Protocol):
    """Starts replicas in one way."""

    def start(self, plan: ReplicaPlan) -> tuple[Handle, Connection]:
        """Start a replica; give its process and our end of its pipe."""

    def close(self) -> None:
        """Free what the launcher itself holds."""


def preload() -> None:
    """Start the fork server, which imports CrewAI in the background, and return at once.

    Does nothing where it runs already, or where the system has no fork server (Windows). With
    ``CREWLAB_PRELOAD=off`` in the environment it imports nothing: slower replicas, less memory.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return
    from multiprocessing import forkserver

    os.environ["CREWLAB_SCRATCH"] = str(scratch_folder())
    multiprocessing.get_context("forkserver").set_forkserver_preload(
        ["crewlab.deployment.preloaded"] if os.environ.get("CREWLAB_PRELOAD") != "off" else []
    )
    with _interrupts_ignored(), _without_main_module():
        forkserver.ensure_running()
    remember_process(getattr(forkserver._forkserver, "_forkserver_pid", None) or 0)


def make_launcher(start_method: StartMethod, plan: ReplicaPlan, startup_timeout: float) -> Launcher:
    """Choose how replicas start.

    Args:
        start_method: "fork" starts a preloading master first, which imports the app.
        plan: what that master is; the other methods do not need it.
        startup_timeout: seconds the master may take until it has imported the app.

    Returns:
        The launcher.
    """
    if start_method == "fork":
        from crewlab.deployment.master import MasterLauncher

        return MasterLauncher(plan, startup_timeout)
    return ProcessLauncher(start_method)


def start_server(target: Target, plan: ReplicaPlan) -> tuple[Handle, Connection]:
    """Start a server of another kind, in a process that has imported what a replica imports.

    Args:
        target: what the process is to do; gets its end of the pipe and the plan.
        plan: its environment, disk and log.

    Returns:
        The process and our end of its pipe.
    """
    process, ours = ProcessLauncher("forkserver")._start(target, plan)
    return _ProcessHandle(process), ours


class _ProcessHandle:
    def __init__(self, process: BaseProcess) -> None:
        self._process = process
        self.pid = process.pid or 0

    def exit_code(self) -> int | None:
        return self._process.exitcode

    def reap(self, timeout: float) -> None:
        self._process.join(timeout)
        if self._process.exitcode is not None:
            self._process.close()


class ProcessLauncher:
    """forkserver and spawn: each replica is a process of ``multiprocessing``."""

    def __init__(self, start_method: str) -> None:
        self._context = multiprocessing.get_context(start_method)
        if start_method == "forkserver":
            preload()

    def start(self, plan: ReplicaPlan) -> tuple[Handle, Connection]:
        """Start a replica; give its process and our end of its pipe."""
        process, ours = self._start(replica.main, plan)
        return _ProcessHandle(process), ours

    def _start(self, target: Target, plan: ReplicaPlan) -> tuple[BaseProcess, Connection]:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=target, args=(theirs, plan), name=plan.name)  # type: ignore[attr-defined]
        with theirs, _without_main_module():
            try:
                process.start()
            except (ConnectionError, EOFError):  # the fork server was killed: start another
                preload()
                process.start()
        return process, ours

    def close(self) -> None:
        """Nothing is held: the fork server serves the next run too."""


def kill_group(pid: int, *, ended: bool = False) -> None:
    """Kill a replica and whatever it started, at once.

    Args:
        pid: the replica's process id; 0 or one that has ended is no error.
        ended: it has ended itself, so only what it started is meant. Its number may be another
            process's by now, but no other group's: not while one of its own group lives.
    """
    if pid <= 0:
        return
    if not hasattr(os, "killpg"):
        with contextlib.suppress(OSError):
            if not ended:
                os.kill(pid, signal.SIGTERM)  # TerminateProcess on Windows
        return
    # Before its setsid a process leads no group.
    for kill in (os.killpg,) if ended else (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def _without_main_module() -> Iterator[None]:
    """Keep a replica from importing the caller's script again: it needs nothing from there.

    ``multiprocessing`` re-imports ``__main__`` in a new process, which runs a plain script without
    a main guard a second time.
    """
    main_module = sys.modules["__main__"]
    with _main_module_lock:
        kept = {name: main_module.__dict__.get(name) for name in ("__spec__", "__file__")}
        main_module.__spec__ = None
        main_module.__dict__.pop("__file__", None)
        try:
            yield
        finally:
            main_module.__dict__.update(
                {name: value for name, value in kept.items() if name == "__spec__" or value}
            )


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Let the fork server inherit an ignored SIGINT.

    A notebook's interrupt goes to all processes of the kernel's group, and the fork server guards
    itself only once it has imported everything.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def warm() -> None:
    """Wait until the fork server has imported everything (about 5 s of CPU after a cold start)."""
    context = multiprocessing.get_context("forkserver")
    preload()
    with _without_main_module():
        process = context.Process(target=importlib.import_module, args=("crewlab",))
        process.start()
    process.join()
