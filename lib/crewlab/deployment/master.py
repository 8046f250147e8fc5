"""The preloading master: a process that imports the app once and forks each replica from itself."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

from crewlab.deployment import replica
from crewlab.deployment.launch import Handle, ProcessLauncher, kill_group
from crewlab.deployment.plan import ReplicaPlan


class _ForkedHandle:
    def __init__(self, pid: int, master: MasterLauncher) -> None:
        self.pid = pid
        self._master = master

    def exit_code(self) -> int | None:
        return self._master.exit_code_of(self.pid)

    def reap(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while self.exit_code() is None and time.monotonic() < deadline:
            time.sleep(0.01)


class MasterLauncher(ProcessLauncher):
    """fork: a master process imports the app, then forks the replicas, as ``--preload`` does."""

    def __init__(self, plan: ReplicaPlan, startup_timeout: float) -> None:
        super().__init__("forkserver")
        self._startup_timeout = startup_timeout
        self._exit_codes: dict[int, int] = {}
        self._process, self._commands = self._start(run_master, plan)

    def start(self, plan: ReplicaPlan) -> tuple[Handle, Connection]:
        """Have the master fork a replica; give its process and our end of its pipe."""
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
        """Give the code a replica ended with, as the master heard it; None while it runs."""
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
        """End the master, and the replicas with it."""
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
