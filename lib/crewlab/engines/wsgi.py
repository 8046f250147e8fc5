"""Serves a WSGI module as it is, with a real gunicorn.

``http`` puts an app behind a WSGI callable of the course; here the module brings its own. What is
ours is the process that gunicorn starts in. It comes from the fork server, which has imported
CrewAI already, so that a start takes less than a second and not six. From there on it runs what the
``gunicorn`` command runs, with a master and workers of its own.
"""

from __future__ import annotations

import contextlib
import functools
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from crewlab.app import App
from crewlab.deployment.backlog import Backlog
from crewlab.deployment.container import make_container, make_image
from crewlab.deployment.launch import kill_group, start_server
from crewlab.deployment.plan import Environment, Inputs, ReplicaPlan, make_plan
from crewlab.deployment.scratch import forget_process, remember_process, scratch_folder
from crewlab.engines.client import send_all
from crewlab.errors import ToldOSError
from crewlab.results.records import ReplicaRecord
from crewlab.results.run import Run

MIB = 1024 * 1024
TICK = 0.02
_LISTENING = re.compile(r"Listening at: http://127\.0\.0\.1:(\d+)")
_BOOTING = re.compile(r"Booting worker with pid: (\d+)")


class ServedRun(Run):
    """A run behind a server: which thread of a worker had a request is not known, so no lanes."""

    def _ipython_display_(self) -> None:
        from crewlab.results.show import show

        show(str(self), self._repr_html_())


def serve(
    app: App | str | Path,
    *,
    workers: int = 2,
    threads: int = 4,
    requests: int | Sequence[Inputs] = 4,
    preload: bool = True,
    env: Environment | None = None,
    timeout: float = 30.0,
    startup_timeout: float = 60.0,
) -> Run:
    """Serve a module's ``application`` with gunicorn and send it requests, all at once.

    The server listens on the loopback interface, on a port the system chooses, and is gone when
    this returns or raises.

    Args:
        app: a module with ``application``, a WSGI callable. It gets each request's inputs as JSON
            and answers with ``{"answer": text, "pid": its process}``.
        workers: gunicorn's ``--workers``.
        threads: gunicorn's ``--threads``, of a gthread worker.
        requests: how many (about distinct invented companies), or the inputs of each.
        preload: pass ``--preload``.
        env: changes to the environment; None takes a variable away.
        timeout: seconds from the release after which a request without answer is a timeout.
        startup_timeout: seconds gunicorn may take until it listens and its workers boot.

    Returns:
        The run: each request with its outcome, one record a worker, gunicorn's log in each.

    Raises:
        ValueError: a number or a name that cannot be deployed, or no fork here (Windows).
        TypeError: something of a wrong type.
        OSError: gunicorn did not start; says what its log says.
    """
    plan = make_plan(
        app,
        replicas=workers,
        threads=threads,
        requests=requests,
        start_method="fork",
        env=env,
        timeout=timeout,
        startup_timeout=startup_timeout,
    )
    options = [
        *(["--preload"] if preload else []),
        *("--workers", str(workers), "--worker-class", "gthread", "--threads", str(threads)),
        *("--bind", "127.0.0.1:0", "--no-control-socket"),
    ]
    folder = Path(tempfile.mkdtemp(prefix="web-", dir=scratch_folder()))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        make_image(plan, folder)
        began = time.monotonic()
        server = _Server(make_container(plan, folder, "gunicorn", plan.env[0]), options)
        stack.callback(server.stop)
        port = server.wait(workers, startup_timeout)
        startup_seconds = time.monotonic() - began
        backlog = Backlog(plan, lambda _record: None)
        send_all(backlog, port, timeout, server.name_of)
        seconds = backlog.seconds
        replicas = server.workers()
    return ServedRun(
        app=plan.app.name,
        replicas=replicas,
        requests=backlog.records,
        threads=threads,
        start_method="gunicorn --preload" if preload else "gunicorn",
        startup_seconds=startup_seconds,
        seconds=seconds,
    )


class _Server:
    """gunicorn's master and its workers, one process group."""

    def __init__(self, container: ReplicaPlan, options: Sequence[str]) -> None:
        self._log = container.log
        start = functools.partial(_be_gunicorn, options=list(options))
        self._handle, self._pipe = start_server(start, container)
        remember_process(self._handle.pid)

    def wait(self, workers: int, patience: float) -> int:
        """Wait until it listens and all workers were forked; give the port."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and self._handle.exit_code() is None:
            listening = _LISTENING.search(self._text())
            if listening and len(self._pids()) >= workers:
                return int(listening[1])
            time.sleep(TICK)
        last = (self._text().strip().splitlines() or ["nothing"])[-1]
        raise ToldOSError(
            None,
            f"gunicorn did not start within {patience:g} s, or ended.\n"
            f"Its log ends with: {last:.200}\n"
            "An app that raises when it is imported ends it.",
        )

    def name_of(self, pid: int) -> str:
        """Name a worker."""
        pids = self._pids()
        return f"worker-{pids.index(pid) if pid in pids else len(pids)}"

    def workers(self) -> list[ReplicaRecord]:
        """Describe each worker as it is now."""
        log = self._text()
        records = []
        for number, pid in enumerate(self._pids()):
            record = ReplicaRecord(f"worker-{number}", status="Error", log=log)
            with contextlib.suppress(psutil.Error):
                record.peak_memory = psutil.Process(pid).memory_info().rss / MIB
                record.status, record.ready = "Running", True
            records.append(record)
        return records

    def stop(self) -> None:
        """Kill all of it: a worker that hangs would keep a polite end waiting."""
        kill_group(self._handle.pid)
        self._handle.reap(timeout=2.0)
        forget_process(self._handle.pid)
        self._pipe.close()

    def _pids(self) -> list[int]:
        return [int(pid) for pid in _BOOTING.findall(self._text())]

    def _text(self) -> str:
        with contextlib.suppress(OSError):
            return self._log.read_text(encoding="utf-8", errors="replace")
        return ""


def _be_gunicorn(connection: Connection, container: ReplicaPlan, options: list[str]) -> None:
    """Become what the ``gunicorn`` command is."""
    from crewlab.deployment import replica

    connection.close()
    replica.enter_container(container)
    sys.argv = ["gunicorn", *options, f"{container.app_name}:application"]
    from gunicorn.app.wsgiapp import run

    run()
