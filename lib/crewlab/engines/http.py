"""Runs an app behind a real HTTP server: gunicorn's or uvicorn's workers."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from crewlab.app import App
from crewlab.deployment.backlog import Backlog
from crewlab.deployment.container import make_container, make_image
from crewlab.deployment.launch import kill_group
from crewlab.deployment.plan import Environment, Inputs, Judge, Plan, make_plan
from crewlab.deployment.scratch import forget_process, remember_process, scratch_folder
from crewlab.deployment.tidy import shorten
from crewlab.engines.client import send_all
from crewlab.errors import ToldValueError
from crewlab.results.records import ReplicaRecord
from crewlab.results.run import Run

MIB = 1024 * 1024
STOP_GRACE = 5.0  # s from SIGTERM to SIGKILL, once every request has its outcome


def gunicorn(
    app: App | str | Path,
    *,
    replicas: int = 2,
    threads: int = 4,
    requests: int | Sequence[Inputs] = 16,
    preload: bool = False,
    env: Environment | None = None,
    timeout: float = 30.0,
    startup_timeout: float = 120.0,
    judge: Judge | None = None,
) -> Run:
    """Deploy an app behind gunicorn's gthread workers, and send it requests, all at once.

    Args:
        app: as for ``scale``.
        replicas: gunicorn's workers.
        threads: each worker's threads.
        requests: as for ``scale``.
        preload: import the app in gunicorn's parent, then fork the workers.
        env: changes to the environment; None takes a variable away.
        timeout: seconds from the release after which a request is a timeout.
        startup_timeout: seconds until every worker must be ready.
        judge: as for ``scale``.

    Returns:
        The run, one replica a worker.

    Raises:
        ValueError: a number that cannot be deployed, or gunicorn is not there.
        TypeError: an argument of the wrong type.
    """
    plan = _plan(app, replicas, threads, requests, env, timeout, startup_timeout, judge)
    options = [
        *("--workers", str(plan.replicas), "--worker-class", "gthread"),
        *("--threads", str(plan.threads), "--config", "python:crewlab.engines.gunicorn_settings"),
        *("--graceful-timeout", "3", "--timeout", "120", "--no-control-socket"),
        *(["--preload"] if preload else []),
    ]
    how = "gunicorn --preload" if preload else "gunicorn"
    return _serve(plan, how, "gunicorn", [*options, "crewlab.engines.served:wsgi"])


def uvicorn(
    app: App | str | Path,
    *,
    replicas: int = 2,
    threads: int = 4,
    requests: int | Sequence[Inputs] = 16,
    env: Environment | None = None,
    timeout: float = 30.0,
    startup_timeout: float = 120.0,
    judge: Judge | None = None,
) -> Run:
    """Deploy an app behind uvicorn's workers, each with a pool of threads.

    Args:
        app: as for ``scale``.
        replicas: uvicorn's workers.
        threads: the threads of each worker's pool.
        requests: as for ``scale``.
        env: changes to the environment; None takes a variable away.
        timeout: seconds from the release after which a request is a timeout.
        startup_timeout: seconds until every worker must be ready.
        judge: as for ``scale``.

    Returns:
        The run, one replica a worker.

    Raises:
        ValueError: a number that cannot be deployed, or uvicorn is not there.
        TypeError: an argument of the wrong type.
    """
    plan = _plan(app, replicas, threads, requests, env, timeout, startup_timeout, judge)
    options = [
        *("--workers", str(plan.replicas), "--timeout-graceful-shutdown", "3"),
        *("--timeout-worker-healthcheck", "60", "--no-access-log", "crewlab.engines.served:asgi"),
    ]
    return _serve(plan, "uvicorn", "uvicorn", options)


def _plan(
    app: App | str | Path,
    replicas: int,
    threads: int,
    requests: int | Sequence[Inputs],
    env: Environment | None,
    timeout: float,
    startup_timeout: float,
    judge: Judge | None,
) -> Plan:
    return make_plan(
        app,
        replicas=replicas,
        threads=threads,
        requests=requests,
        env=env,
        timeout=timeout,
        startup_timeout=startup_timeout,
        judge=judge,
    )


def _serve(plan: Plan, how: str, module: str, options: Sequence[str]) -> Run:
    if importlib.util.find_spec(module) is None:
        raise ToldValueError(
            f"{module} is not installed here.\n"
            "It is part of the course's environment where it runs (gunicorn: not on Windows).\n"
            "Use scale(), or make the environment anew."
        )
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=scratch_folder()))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        make_image(plan, folder)
        server = stack.enter_context(_Server.started(plan, folder, module, options))
        began = time.monotonic()
        server.wait_until_ready()
        backlog = Backlog(plan, lambda _record: None)
        startup_seconds = time.monotonic() - began
        if server.error:
            backlog.release()
            backlog.end_all("lost", f"no replica is left to take it; {server.error}")
        else:
            send_all(backlog, server.port, plan.timeout, server.name_of)
        for record in backlog.records:
            record.traceback = record.traceback and shorten(record.traceback, folder)
        seconds = backlog.seconds
        replicas = server.replicas()
    return Run(
        app=plan.app.name,
        replicas=replicas,
        requests=backlog.records,
        threads=plan.threads,
        start_method=how,
        startup_seconds=startup_seconds,
        seconds=seconds,
    )


class _Server:
    """A server's processes, from their start to the last one gone."""

    def __init__(self, plan: Plan, folder: Path, module: str, options: Sequence[str]) -> None:
        self.error: str | None = None
        self._plan = plan
        self._folder = folder
        self._ready = folder / "ready"
        self._ready.mkdir()
        container = make_container(plan, folder, "server", plan.env[0])
        self._log = container.log
        variables = {
            **container.env,
            "CREWLAB_APP": str(folder / "image" / f"{plan.app.name}.py"),
            "CREWLAB_READY": str(self._ready),
            "CREWLAB_THREADS": str(plan.threads),
            "PYTHONPATH": os.pathsep.join(
                [*container.app_folder, str(Path(__file__).resolve().parents[2])]
            ),
        }
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen(1024)
            self.port = listening.getsockname()[1]
            descriptor = listening.fileno()
            where = ["--bind", f"fd://{descriptor}"] if module == "gunicorn" else []
            where = where or ["--fd", str(descriptor)]
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(  # noqa: S603 - this Python, no shell
                    [sys.executable, "-m", module, *where, *options],
                    cwd=container.folder / "work",
                    env=variables,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=[descriptor],
                    start_new_session=True,
                )
        remember_process(self._process.pid)

    @classmethod
    @contextlib.contextmanager
    def started(
        cls, plan: Plan, folder: Path, module: str, options: Sequence[str]
    ) -> Iterator[_Server]:
        """Have the server for as long as the block runs."""
        server = cls(plan, folder, module, options)
        try:
            yield server
        finally:
            server.stop()

    def wait_until_ready(self) -> None:
        """Wait for every worker; `error` says what went wrong if they do not come."""
        deadline = time.monotonic() + self._plan.startup_timeout
        while len(self._workers()) < self._plan.replicas:
            code = self._process.poll()
            if code is not None or self._failed() or time.monotonic() > deadline:
                what = "is not ready in time" if code is None else f"ended with exit code {code}"
                self.error = self._failed() or f"the server {what}"
                return
            time.sleep(0.02)

    def name_of(self, pid: int) -> str:
        """Name the replica that a worker plays."""
        workers = self._workers()
        return f"{self._plan.app.name}-{workers.index(pid) if pid in workers else len(workers)}"

    def replicas(self) -> list[ReplicaRecord]:
        """Give one record a worker, as it is now."""
        found = [self._record(number, pid) for number, pid in enumerate(self._workers())]
        lacking = range(len(found), self._plan.replicas)
        found += [
            ReplicaRecord(f"{self._plan.app.name}-{number}", "Error", error=self.error)
            for number in lacking
        ]
        found[0].log = self._text()[-64 * 1024 :]
        return found

    def stop(self) -> None:
        """End the server; nothing of it is left when this returns."""
        if self._process.poll() is None:
            with contextlib.suppress(OSError):
                self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_GRACE)
        kill_group(self._process.pid)
        self._process.wait()
        forget_process(self._process.pid)

    def _workers(self) -> list[int]:
        return sorted(int(path.name) for path in self._ready.iterdir())

    def _record(self, number: int, pid: int) -> ReplicaRecord:
        record = ReplicaRecord(f"{self._plan.app.name}-{number}", "Error")
        with contextlib.suppress(psutil.Error):
            record.peak_memory = psutil.Process(pid).memory_info().rss / MIB
            record.status, record.ready = "Running", True
        return record

    def _text(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def _failed(self) -> str | None:
        """Find the last line of the traceback of a worker that could not load the app."""
        text = self._text()
        if "Traceback (most recent call last)" not in text:
            return None
        said = text.rpartition("Traceback (most recent call last)")[2].splitlines()[1:]
        return next((line for line in said if line and not line[0].isspace()), None)
