"""A real gunicorn in place of the simulated deployment: the same requests, over HTTP.

What is ours here: the requests, the time limit, and the process gunicorn starts in. That one comes
from the fork server, which has imported CrewAI already, so a start takes a second and not seven.
From there on it is what the ``gunicorn`` command runs, with its own master and workers.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import urlencode

import psutil

from crewlab.app import App
from crewlab.deployment import replica
from crewlab.deployment.container import make_container, make_image
from crewlab.deployment.judge import NameJudge
from crewlab.deployment.launch import kill_group, start_server
from crewlab.deployment.plan import Environment, Inputs, ReplicaPlan, make_plan
from crewlab.deployment.scratch import forget_process, remember_process, scratch_folder
from crewlab.errors import ToldOSError
from crewlab.results.records import Kind, ReplicaRecord, RequestRecord
from crewlab.results.run import Run

MIB = 1024 * 1024
TICK = 0.02
_LISTENING = re.compile(r"Listening at: http://127\.0\.0\.1:(\d+)")
_BOOTING = re.compile(r"Booting worker with pid: (\d+)")


class ServedRun(Run):
    """A run of a web server: which worker had a request is not known, so there are no lanes."""

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
    """Serve an app with gunicorn on this machine and send it requests, all at once.

    The server listens on the loopback interface, on a port the system chooses, and is gone when
    this returns or raises.

    Args:
        app: a module with ``application``, a WSGI callable that takes a request's inputs from the
            query string.
        workers: gunicorn's ``--workers``.
        threads: gunicorn's ``--threads``, of a gthread worker.
        requests: how many (about distinct invented companies), or the inputs of each.
        preload: pass ``--preload``.
        env: changes to the environment; None takes a variable away.
        timeout: seconds from sending after which a request without answer is a timeout.
        startup_timeout: seconds gunicorn may take until it listens and its workers boot.

    Returns:
        The run: each request with its outcome, one record a worker, gunicorn's log in each.

    Raises:
        ValueError: a number or a name that cannot be deployed, or no such system (Windows).
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
        f"--workers {workers} --worker-class gthread --threads {threads}",
        "--bind 127.0.0.1:0 --no-control-socket",
    ]
    folder = Path(tempfile.mkdtemp(prefix="web-", dir=scratch_folder()))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        make_image(plan, folder)
        command = {"GUNICORN_CMD_ARGS": " ".join(options)}
        container = make_container(plan, folder, "gunicorn", {**plan.env[0], **command})
        began = time.monotonic()
        server = _Server(container)
        stack.callback(server.stop)
        port = server.wait(workers, startup_timeout)
        released = time.monotonic()
        records = _ask_all(port, plan.requests, timeout)
        seconds = time.monotonic() - released
        replicas = server.workers()
    return ServedRun(
        app=plan.app.name,
        replicas=replicas,
        requests=records,
        threads=threads,
        start_method="gunicorn --preload" if preload else "gunicorn",
        startup_seconds=released - began,
        seconds=seconds,
    )


class _Server:
    """gunicorn's master and its workers, one process group."""

    def __init__(self, container: ReplicaPlan) -> None:
        self._log = container.log
        self._handle, self._pipe = start_server(_be_gunicorn, container)
        remember_process(self._handle.pid)

    def log(self) -> str:
        with contextlib.suppress(OSError):
            return self._log.read_text(encoding="utf-8", errors="replace")
        return ""

    def wait(self, workers: int, patience: float) -> int:
        """Wait until it listens and all workers were forked; give the port."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and self._handle.exit_code() is None:
            log = self.log()
            listening = _LISTENING.search(log)
            if listening and len(_BOOTING.findall(log)) >= workers:
                return int(listening[1])
            time.sleep(TICK)
        last = (self.log().strip().splitlines() or ["nothing"])[-1]
        raise ToldOSError(
            None,
            f"gunicorn did not start within {patience:g} s, or ended.\n"
            f"Its log ends with: {last:.200}\n"
            "An app that raises when it is imported ends it.",
        )

    def workers(self) -> list[ReplicaRecord]:
        """Describe each living worker."""
        log = self.log()
        found = []
        with contextlib.suppress(psutil.Error):
            found = psutil.Process(self._handle.pid).children()
        records = []
        for index, process in enumerate(found):
            record = ReplicaRecord(f"worker-{index}", status="Running", ready=True, log=log)
            with contextlib.suppress(psutil.Error):
                record.peak_memory = process.memory_info().rss / MIB
            records.append(record)
        return records or [ReplicaRecord("master", status="Error", log=log)]

    def stop(self) -> None:
        kill_group(self._handle.pid)
        self._handle.reap(timeout=2.0)
        forget_process(self._handle.pid)
        self._pipe.close()


def _be_gunicorn(connection: Connection, container: ReplicaPlan) -> None:
    """Become what the ``gunicorn`` command is; its options are in ``GUNICORN_CMD_ARGS``."""
    connection.close()
    replica.enter_container(container)
    sys.argv = ["gunicorn", f"{container.app_name}:application"]
    from gunicorn.app.wsgiapp import run

    run()


def _ask_all(port: int, inputs: Sequence[Inputs], timeout: float) -> list[RequestRecord]:
    """Send all requests at the same time, and wait for each at most ``timeout`` seconds."""
    judge = NameJudge([dict(each) for each in inputs])
    records = [RequestRecord(number, dict(each), "lost") for number, each in enumerate(inputs)]
    askers = [
        threading.Thread(target=_ask, args=(port, record, judge, timeout), daemon=True)
        for record in records
    ]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    return records


def _ask(port: int, record: RequestRecord, judge: NameJudge, timeout: float) -> None:
    began = time.monotonic()
    record.started = 0.0
    connection = HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", f"/report?{urlencode(record.inputs)}")
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
    except TimeoutError:
        record.kind, record.error = "timeout", f"no answer within {timeout:g} s"
    except (OSError, HTTPException) as problem:
        record.kind, record.error = "lost", f"{type(problem).__name__}: {problem}"
    else:
        right: Kind = "ok" if judge.is_right(record.number, text) else "wrong"
        record.kind = right if response.status == 200 else "error"
        if record.kind == "error":
            record.error = f"HTTP {response.status}"
        record.answer = text
    finally:
        connection.close()
        record.finished = time.monotonic() - began
