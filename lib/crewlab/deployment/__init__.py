"""The simulated deployment: replicas as processes, and the supervisor that watches them."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crewlab.app import App
from crewlab.deployment.evictions import Eviction
from crewlab.deployment.launch import preload, warm
from crewlab.deployment.plan import Environment, Files, Inputs, Judge, StartMethod, make_plan
from crewlab.errors import ToldOSError
from crewlab.results.records import Event

if TYPE_CHECKING:
    from crewlab.results.run import Run

NO_ROOM = {errno.ENOSPC, errno.EROFS, errno.EACCES}

__all__ = ["Event", "Eviction", "preload", "scale", "warm"]


def scale(
    app: App | str | Path,
    *,
    replicas: int = 4,
    threads: int = 4,
    requests: int | Sequence[Inputs] = 16,
    then: Sequence[Inputs] = (),
    start_method: StartMethod = "forkserver",
    env: Environment | Sequence[Environment] | None = None,
    files: Files | None = None,
    memory_limit: float | None = None,
    cores: int | None = None,
    timeout: float = 30.0,
    startup_timeout: float = 60.0,
    restarts: int = 0,
    read_only: bool = False,
    judge: Judge | None = None,
    redeliver: int = 0,
    recycle_after: int | None = None,
    evict: Sequence[Eviction] = (),
    drain: bool = False,
    stalled_after: float | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Run:
    """Deploy an app on several replicas of this machine and send it requests, all at once.

    A replica is a fresh process with a working directory, temporary folder, home and log of its
    own. All requests are released together as soon as every replica is ready or has failed to
    start. Every process and file is gone when this returns, is interrupted or raises.

    Args:
        app: what a ``%%app`` cell bound, or the path of a file with ``run(inputs) -> str``.
        replicas: how many processes, 1 to 64.
        threads: how many requests each replica works on at the same time, 1 to 128.
        requests: how many (about distinct invented companies), or the inputs of each.
        then: the inputs of further requests, released together once all the others have an
            outcome: the day after, as it were, on the same replicas.
        start_method: "forkserver" (CrewAI imported beforehand), "spawn" (nothing shared, some 6 s
            a replica), or "fork": a preloading master imports the app, then forks the replicas.
        env: changes to the environment; None takes a variable away. A list: one a replica.
            ``$(TMPDIR)`` in a value is the replica's own temporary folder, written as Kubernetes
            writes a reference to another variable.
        files: texts by relative path, in the working directory of each replica from its start.
        memory_limit: MiB of resident memory above which a replica is killed (OOMKilled, 137).
        cores: how many processor cores of this machine all replicas share; None: all. Linux only.
        timeout: seconds from the release after which a request without answer is a timeout.
        startup_timeout: seconds a replica may take until it is ready; it is killed after that.
        restarts: how often a replica that ended is started again, with back-off.
        read_only: simulate a read-only root file system; only the temporary folder is writable.
            What breaks at import shows with ``start_method="spawn"`` only.
        judge: tells from a request's inputs and the answer whether it is right. By default an
            answer must carry the name that only this request has, and nobody else's.
        redeliver: how often a request whose replica ended is given to another one, as a queue does
            that is acknowledged after the work; 0: it is lost.
        recycle_after: how many requests a replica takes before a fresh one takes its place. It
            answers what it has first.
        evict: replicas that are told to end while they work, each replaced by a fresh one.
        drain: let a replica that gets SIGTERM finish what it works on, as servers do; otherwise it
            ends as any Python process does, at once. POSIX only.
        stalled_after: seconds after which what has no answer is a timeout, if no replica has used
            the processor meanwhile: it hangs, and is not merely slow.
        on_event: called while it runs, for a display.

    Returns:
        The run: each request with exactly one outcome, each replica with its status.

    Raises:
        ValueError: a number, name or request that cannot be deployed; says what to do.
        TypeError: an argument of the wrong type; says what to do.
        OSError: the machine has no room for more processes or temporary files.
    """
    plan = make_plan(
        app,
        replicas=replicas,
        threads=threads,
        requests=requests,
        then=then,
        start_method=start_method,
        env=env,
        files=files,
        memory_limit=memory_limit,
        cores=cores,
        timeout=timeout,
        startup_timeout=startup_timeout,
        restarts=restarts,
        read_only=read_only,
        judge=judge,
        redeliver=redeliver,
        recycle_after=recycle_after,
        evict=evict,
        drain=drain,
        stalled_after=stalled_after,
    )
    from crewlab.deployment.supervisor import Supervisor

    try:
        return Supervisor(plan, on_event).run()
    except OSError as problem:
        if problem.errno not in NO_ROOM:
            raise
        raise ToldOSError(
            problem.errno,
            f"The replicas' files cannot be written: {problem}.\n"
            "Each replica has a disk of its own in the system's temporary folder.\n"
            "Make room there, or set TMPDIR to a folder with room and restart the kernel.",
        ) from None
