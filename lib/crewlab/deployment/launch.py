"""Starting one process a replica, by each start method, behind one small interface."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import reduction
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

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
        return _MasterLauncher(plan, startup_timeout)
    return _ProcessLauncher(start_method)


def start_server(target: Target, plan: ReplicaPlan) -> tuple[Handle, Connection]:
    """Start a server of another kind, in a process that has imported what a replica imports.

    Args:
        target: what the process is to do; gets its end of the pipe and the plan.
        plan: its environment, disk and log.

    Returns:
        The process and our end of its pipe.
    """
    process, ours = _ProcessLauncher("forkserver")._start(target, plan)
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


class _ProcessLauncher:
    """forkserver and spawn: each replica is a process of ``multiprocessing``."""

    def __init__(self, start_method: str) -> None:
        self._context = multiprocessing.get_context(start_method)
        if start_method == "forkserver":
            preload()

    def start(self, plan: ReplicaPlan) -> tuple[Handle, Connection]:
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


class _ForkedHandle:
    def __init__(self, pid: int, master: _MasterLauncher) -> None:
        self.pid = pid
        self._master = master

    def exit_code(self) -> int | None:
        return self._master.exit_code_of(self.pid)

    def reap(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while self.exit_code() is None and time.monotonic() < deadline:
            time.sleep(0.01)


class _MasterLauncher(_ProcessLauncher):
    """fork: a master process imports the app, then forks the replicas, as ``--preload`` does."""

    def __init__(self, plan: ReplicaPlan, startup_timeout: float) -> None:
        super().__init__("forkserver")
        self._startup_timeout = startup_timeout
        self._exit_codes: dict[int, int] = {}
        self._process, self._commands = self._start(run_master, plan)

    def start(self, plan: ReplicaPlan) -> tuple[Handle, Connection]:
        ours, theirs = multiprocessing.Pipe()
        with theirs:
            try:
                self._commands.send(plan)
                reduction.send_handle(self._commands, theirs.fileno(), self._process.pid)
                while self._commands.poll(self._startup_timeout):
                    kind, *news = self._commands.recv()
                    if kind == "forked":
                        return _ForkedHandle(news[0], self), ours
                    self._exit_codes[news[0]] = news[1]
            except (OSError, EOFError):
                pass
            kill_group(self._process.pid or 0)  # it hangs or is gone, and so are its replicas
            return _ForkedHandle(0, self), ours

    def exit_code_of(self, pid: int) -> int | None:
        with contextlib.suppress(OSError, EOFError):
            while self._commands.poll():
                _, ended, code = self._commands.recv()
                self._exit_codes[ended] = code
        code = self._process.exitcode
        if pid not in self._exit_codes and code is not None:
            # A replica dies with its master; one that was never forked shares the master's fate.
            self._exit_codes[pid] = -signal.SIGKILL if pid else code
        return self._exit_codes.get(pid)

    def close(self) -> None:
        self._commands.close()
        kill_group(self._process.pid or 0)
        self._process.join(2)


def run_master(commands: Connection, plan: ReplicaPlan) -> None:
    """Be the preloading master: import the app once, fork a replica whenever told to.

    Args:
        commands: pipe to the supervisor; receives plans, each followed by the pipe of its replica.
        plan: the master's own environment, disk and log.
    """
    replica.enter_container(plan)
    try:
        run = replica.load_app(plan)
        failure: BaseException | None = None
    except BaseException as error:
        run, failure = _not_loaded, error
    running = 0
    while True:
        try:
            asked = commands.poll(0.02)
            if asked:
                replica_plan = commands.recv()
                pipe = reduction.recv_handle(commands)
        except (EOFError, OSError):
            os._exit(0)
        if asked:
            pid = os.fork()
            if pid == 0:
                commands.close()
                with Connection(pipe) as connection:
                    _be_forked_replica(connection, replica_plan, run, failure)
            os.close(pipe)
            running += 1
            commands.send(("forked", pid))
        while running:
            ended, status = os.waitpid(-1, os.WNOHANG)
            if not ended:
                break
            running -= 1
            commands.send(("ended", ended, os.waitstatus_to_exitcode(status)))


def _be_forked_replica(
    connection: Connection, plan: ReplicaPlan, run: replica.Run, failure: BaseException | None
) -> None:
    if failure is not None:
        replica.enter_container(plan)
        replica.report_failure(connection.send, failure)
        replica.leave(1)
    replica.main(connection, plan, run)


def _not_loaded(_inputs: dict[str, Any]) -> object:
    raise AssertionError("a replica of an app that failed to import takes no request")


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
