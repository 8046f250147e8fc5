"""Runs an app behind a real HTTP server: gunicorn's or uvicorn's workers."""

from __future__ import annotations

import contextlib
import functools
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from crewlab.app import App
from crewlab.deployment.backlog import Backlog
from crewlab.deployment.container import make_image
from crewlab.deployment.plan import Environment, Inputs, Judge, Plan, make_plan
from crewlab.deployment.scratch import scratch_folder
from crewlab.deployment.tidy import shorten
from crewlab.engines.client import send_all
from crewlab.engines.host import Host, require
from crewlab.errors import ToldOSError
from crewlab.results.run import Run

SERVED = "crewlab.engines.served"
_ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)")


class ServedRun(Run):
    """A run behind a server: which thread of a worker had a request is not known, so no lanes."""

    def _ipython_display_(self) -> None:
        from crewlab.results.show import show

        show(str(self), self._repr_html_())


def gunicorn(
    app: App | str | Path,
    *,
    replicas: int = 2,
    threads: int = 4,
    requests: int | Sequence[Inputs] = 16,
    then: Sequence[Inputs] = (),
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
        then: as for ``scale``.
        preload: import the app in gunicorn's master, then fork the workers.
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
    plan = make_plan(
        app,
        replicas=replicas,
        threads=threads,
        requests=requests,
        then=then,
        env=env,
        timeout=timeout,
        startup_timeout=startup_timeout,
        judge=judge,
    )
    return _serve(plan, _gunicorn(plan, preload), f"{SERVED}:wsgi")


def uvicorn(
    app: App | str | Path,
    *,
    replicas: int = 2,
    threads: int = 4,
    requests: int | Sequence[Inputs] = 16,
    then: Sequence[Inputs] = (),
    env: Environment | None = None,
    timeout: float = 30.0,
    startup_timeout: float = 120.0,
    judge: Judge | None = None,
) -> Run:
    """Deploy an app behind uvicorn, whose workers answer on a pool of threads each.

    A single worker is uvicorn's own process. Several are spawned by it, and each of them imports
    CrewAI afresh.

    Args:
        app: as for ``scale``.
        replicas: uvicorn's workers.
        threads: the threads of each worker's pool.
        requests: as for ``scale``.
        then: as for ``scale``.
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
    plan = make_plan(
        app,
        replicas=replicas,
        threads=threads,
        requests=requests,
        then=then,
        env=env,
        timeout=timeout,
        startup_timeout=startup_timeout,
        judge=judge,
    )
    command = [
        *("uvicorn", "--host", "127.0.0.1", "--port", "0", "--workers", str(plan.replicas)),
        *("--timeout-graceful-shutdown", "3", "--timeout-worker-healthcheck", "60"),
        "--no-access-log",
    ]
    return _serve(plan, command, f"{SERVED}:asgi")


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
    """Serve a module's own ``application`` with gunicorn and send it requests, all at once.

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
        startup_timeout: seconds gunicorn may take until its workers are ready.

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
        env=env,
        timeout=timeout,
        startup_timeout=startup_timeout,
    )
    run = _serve(plan, _gunicorn(plan, preload), f"{plan.app.name}:application")
    if run.first_error and not any(replica.ready for replica in run.replicas):
        raise ToldOSError(
            None,
            f"gunicorn did not start within {startup_timeout:g} s, or ended.\n"
            f"It says: {run.first_error:.200}\n"
            "An app that raises when it is imported ends it.",
        )
    return run


def _gunicorn(plan: Plan, preload: bool) -> list[str]:
    return [
        *("gunicorn", "--workers", str(plan.replicas), "--worker-class", "gthread"),
        *("--threads", str(plan.threads), "--config", "python:crewlab.engines.gunicorn_settings"),
        *("--bind", "127.0.0.1:0", "--graceful-timeout", "3", "--timeout", "120"),
        "--no-control-socket",
        *(["--preload"] if preload else []),
    ]


def _serve(plan: Plan, command: list[str], target: str) -> Run:
    require(command[0])
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=scratch_folder()))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        make_image(plan, folder)
        began = time.monotonic()
        host = Host(plan, folder, [*command, target], workers=plan.replicas)
        stack.callback(host.stop, 0)  # a worker that hangs would keep a polite end waiting
        host.wait_until(
            lambda: _ADDRESS.search(host.log()) is not None, began + plan.startup_timeout
        )
        startup_seconds = time.monotonic() - began
        backlog = Backlog(plan, lambda _record: None)
        names = [f"{plan.app.name}-{number}" for number in range(plan.replicas)]
        address = _ADDRESS.search(host.log())
        if host.error or address is None:
            backlog.release()
            backlog.end_all("lost", f"no replica is left to take it; {host.error}")
        else:
            send_all(
                backlog,
                int(address[1]),
                plan.timeout,
                functools.partial(_name_of, host, plan.app.name),
            )
        for record in backlog.records:
            record.traceback = record.traceback and shorten(record.traceback, folder)
        seconds = backlog.seconds
        replicas = host.records(names)
    return backlog.run(
        replicas,
        start_method=f"{command[0]} --preload" if "--preload" in command else command[0],
        startup_seconds=startup_seconds,
        seconds=seconds,
        kind=ServedRun,
    )


def _name_of(host: Host, app: str, pid: int) -> str:
    pids = host.pids()
    return f"{app}-{pids.index(pid) if pid in pids else len(pids)}"
