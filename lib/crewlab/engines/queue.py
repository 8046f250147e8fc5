"""Runs an app behind Celery: the requests are jobs on a real broker."""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from crewlab.app import App
from crewlab.deployment.backlog import Backlog
from crewlab.deployment.container import make_image
from crewlab.deployment.evictions import Eviction
from crewlab.deployment.plan import Environment, Inputs, Judge, make_plan
from crewlab.deployment.scratch import scratch_folder
from crewlab.deployment.tidy import shorten
from crewlab.engines.brokers import Broker
from crewlab.engines.brokers import broker as of_this_process
from crewlab.engines.host import TICK, require
from crewlab.errors import ToldValueError
from crewlab.results.run import Run

Pool = Literal["prefork", "threads"]


def celery(
    app: App | str | Path,
    *,
    pool: Pool = "prefork",
    replicas: int = 2,
    threads: int | None = None,
    requests: int | Sequence[Inputs] = 16,
    then: Sequence[Inputs] = (),
    settings: Mapping[str, Any] | None = None,
    broker: Broker | None = None,
    evict: Sequence[Eviction] = (),
    env: Environment | Sequence[Environment] | None = None,
    memory_limit: float | None = None,
    timeout: float = 30.0,
    startup_timeout: float = 180.0,
    judge: Judge | None = None,
) -> Run:
    """Put requests into a queue, and have the workers of Celery answer them with an app.

    An app that brings a Celery of its own, with ``run`` as its task, runs with its settings.

    Args:
        app: as for ``scale``.
        pool: "prefork": one Celery worker that imports the app and forks ``replicas`` children,
            with one job at a time each. "threads": ``replicas`` Celery workers with ``threads``
            threads each, as on so many machines.
        replicas: how many children, or workers.
        threads: each worker's threads; 4 if it is not given, and always 1 for "prefork".
        requests: as for ``scale``.
        then: as for ``scale``.
        settings: of Celery's, on top of the app's own.
        broker: where the queue is; by default this process's.
        evict: replicas that are killed while they work, as for ``scale``, but with SIGKILL at
            once. A child is replaced by its Celery worker, a worker by a fresh one.
        env: changes to the environment; None takes a variable away. A list: one a worker, with
            pool="threads" only.
        memory_limit: MiB of resident memory above which a child or worker is killed and replaced,
            as a kernel with little memory would do: Celery itself kills nobody in mid-job.
        timeout: seconds from the release after which a request is a timeout.
        startup_timeout: seconds until every worker must be ready.
        judge: as for ``scale``.

    Returns:
        The run, one replica a child or a worker.

    Raises:
        ValueError: something that cannot be deployed, or Celery or a broker is not there.
        TypeError: an argument of the wrong type.
        OSError: the broker does not answer, or is full.
    """
    if pool not in get_args(Pool):
        raise ToldValueError(f"pool={pool!r} is unknown here: use 'prefork' or 'threads'.")
    if pool == "prefork" and threads not in (None, 1):
        raise ToldValueError(
            f"threads={threads} cannot be with pool='prefork': each child has one job at a time.\n"
            "Give more replicas, or use pool='threads'."
        )
    if pool == "prefork" and isinstance(env, Sequence):
        raise ToldValueError(
            "A list of environments cannot be with pool='prefork': its children are forked from one"
            " process.\nGive one mapping, or use pool='threads'."
        )
    require("celery")
    queue = broker or of_this_process()
    each = env if isinstance(env, Sequence) else [env or {}] * replicas
    plan = make_plan(
        app,
        replicas=replicas,
        threads=1 if pool == "prefork" else 4 if threads is None else threads,
        requests=requests,
        then=then,
        evict=evict,
        env=[{**queue.environment, **variables} for variables in each],
        memory_limit=memory_limit,
        timeout=timeout,
        startup_timeout=startup_timeout,
        judge=judge,
    )
    queue.demand()
    from crewlab.engines.jobs import Jobs
    from crewlab.engines.workers import Workers

    folder = Path(tempfile.mkdtemp(prefix="run-", dir=scratch_folder()))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        make_image(plan, folder)
        began = time.monotonic()
        workers = Workers(plan, folder, queue, pool, dict(settings or {}))
        stack.callback(workers.stop)
        workers.wait()
        startup_seconds = time.monotonic() - began
        backlog = Backlog(plan, lambda _record: None)
        jobs = Jobs(backlog, queue, workers, functools.partial(shorten, run_folder=folder))
        stack.callback(jobs.forget)
        backlog.release()
        while backlog.is_open:
            if workers.error is None:
                if backlog.has_waiting:
                    jobs.send()
                workers.look_after(jobs)
            jobs.look()
            if workers.error:
                jobs.nobody_left(workers.error)
            elif backlog.seconds > plan.timeout:
                jobs.out_of_time(f"no answer within {plan.timeout:g} s")
            time.sleep(TICK)
        seconds = backlog.seconds
        records = workers.records()
    return backlog.run(
        records,
        start_method=f"celery --pool {pool}",
        startup_seconds=startup_seconds,
        seconds=seconds,
    )
