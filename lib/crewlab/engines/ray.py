"""Runs an app behind Ray: its actors are the replicas."""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from crewlab.app import App
from crewlab.deployment.backlog import Backlog
from crewlab.deployment.container import make_image
from crewlab.deployment.evictions import Eviction, Watch
from crewlab.deployment.plan import Environment, Inputs, Judge, Plan, make_plan
from crewlab.deployment.scratch import scratch_folder, short_folder
from crewlab.deployment.tidy import shorten
from crewlab.engines import ray_node
from crewlab.engines.host import LOG_END, TICK, Host, require
from crewlab.engines.journal import Journal
from crewlab.errors import ToldOSError
from crewlab.memory import resident
from crewlab.results.records import ReplicaRecord
from crewlab.results.run import Run

TOO_SLOW = "The current node timed out during startup"
"""What Ray says where the machine is so busy that a part of it was not there in time.

The raylet gives its agent 15 s, which no setting changes (ray 2.60.0): then it is started anew.
"""


def ray_actors(
    app: App | str | Path,
    *,
    replicas: int = 2,
    threads: int = 4,
    requests: int | Sequence[Inputs] = 16,
    then: Sequence[Inputs] = (),
    redeliver: int = 0,
    evict: Sequence[Eviction] = (),
    env: Environment | None = None,
    timeout: float = 30.0,
    startup_timeout: float = 180.0,
    judge: Judge | None = None,
) -> Run:
    """Deploy an app on the actors of a Ray of its own, and send it requests, all at once.

    Ray runs on this machine and is gone when this returns or raises. All actors are on one node:
    they share its disk, and each imports CrewAI afresh.

    Args:
        app: as for ``scale``.
        replicas: how many actors.
        threads: each actor's ``max_concurrency``.
        requests: as for ``scale``.
        then: as for ``scale``.
        redeliver: how often Ray gives a request to the successor of an actor that died with it,
            its ``max_task_retries``; 0: it is lost, which is Ray's default.
        evict: replicas that are killed while they work, as for ``scale``, but with SIGKILL at
            once. Ray starts each anew (``max_restarts=-1``).
        env: changes to the environment; None takes a variable away.
        timeout: seconds from the release after which a request is a timeout.
        startup_timeout: seconds until every actor must be ready.
        judge: as for ``scale``.

    Returns:
        The run, one replica an actor.

    Raises:
        ValueError: something that cannot be deployed, or Ray is not there.
        TypeError: an argument of the wrong type.
        OSError: Ray listens where other machines can reach it.
    """
    plan = make_plan(
        app,
        replicas=replicas,
        threads=threads,
        requests=requests,
        then=then,
        redeliver=redeliver,
        evict=evict,
        env=env,
        timeout=timeout,
        startup_timeout=startup_timeout,
        judge=judge,
    )
    require("ray", extra="ray", size="200 MB")
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=scratch_folder()))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        session = short_folder(ray_node.LONGEST_NAME)
        stack.callback(shutil.rmtree, session, ignore_errors=True)
        make_image(plan, folder)
        began = time.monotonic()
        actors = _Actors(plan, folder, session)
        stack.callback(actors.stop)
        actors.wait(began + plan.startup_timeout)
        startup_seconds = time.monotonic() - began
        backlog = Backlog(plan, lambda _record: None)
        backlog.release()
        if actors.error:
            backlog.end_all("lost", f"no replica is left to take it; {actors.error}")
        while backlog.is_open:
            if backlog.has_waiting:
                actors.send(backlog.take_all())
            actors.look(backlog)
            if backlog.seconds > plan.timeout:
                backlog.end_all("timeout", f"no answer within {plan.timeout:g} s")
            time.sleep(TICK)
        seconds = backlog.seconds
        records = actors.records()
    return backlog.run(
        records,
        start_method="ray",
        startup_seconds=startup_seconds,
        seconds=seconds,
    )


class _Actors:
    """All actors of one run, and the Ray they live in."""

    def __init__(self, plan: Plan, folder: Path, session: Path) -> None:
        self._plan, self._folder, self._session = plan, folder, session
        self._journal = Journal(folder)
        self._watches = [Watch(eviction) for eviction in plan.evictions]
        self._pids: dict[int, int] = {}
        self._replaced: Counter[int] = Counter()
        self._taken: Counter[int] = Counter()
        self._threads: dict[tuple[int, int], int] = {}
        self._host = self._start()

    @property
    def error(self) -> str | None:
        """What kept them from coming."""
        return self._host.error

    def wait(self, deadline: float) -> None:
        """Wait until all can take requests; `error` says what went wrong if they do not come.

        Args:
            deadline: of ``time.monotonic``.

        Raises:
            OSError: other machines can reach them.
        """
        while not self._host.wait_until(lambda: True, deadline):
            if TOO_SLOW not in str(self.error) or time.monotonic() > deadline:
                return
            self._host.stop(0)
            self._host = self._start()
        for process in self._host.processes():
            with contextlib.suppress(psutil.Error):
                _refuse_what_is_open(process)

    def send(self, numbers: list[int]) -> None:
        """Let requests go."""
        with contextlib.suppress(OSError):  # an ended Ray is seen where its answers are read
            self._host.pipe.send([(number, self._plan.requests[number]) for number in numbers])

    def look(self, backlog: Backlog) -> None:
        """See what was taken and what has an outcome, and kill what is due to be killed."""
        for what, which, pid, thread, at, _ in self._journal.news():
            if what == "listening":
                self._replaced[int(which)] += int(which) in self._pids
                self._pids[int(which)] = pid
            else:
                self._note(backlog, int(which), pid, thread, at)
        try:
            while self._host.pipe.poll():
                self._finish(backlog, *self._host.pipe.recv())
        except (EOFError, OSError):
            backlog.end_all("lost", "Ray ended")
        for watch in list(self._watches):
            number = watch.eviction.replica
            if watch.is_due(self._taken[number]):
                self._watches.remove(watch)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._pids[number], signal.SIGKILL)

    def records(self) -> list[ReplicaRecord]:
        """Describe every replica as it is now."""
        found = []
        for number in range(self._plan.replicas):
            record = ReplicaRecord(self._name(number), replaced=self._replaced[number])
            if record.replaced:
                record.events.append("its process ended, and Ray started another")
            if self.error:
                record.status, record.error = "Error", self.error
                record.traceback = self._host.traceback()
            with contextlib.suppress(psutil.Error, KeyError):
                pid = self._pids[number]
                record.log = self._log(pid)
                record.peak_memory = resident(psutil.Process(pid))
                record.status, record.ready = "Running", True
            record.log = record.log or self._host.log()[-LOG_END:]
            found.append(record)
        return found

    def stop(self) -> None:
        """End Ray; nothing of it is left when this returns."""
        self._host.stop(0)

    def _start(self) -> Host:
        start = functools.partial(
            ray_node.start,
            folder=str(self._session),
            replicas=self._plan.replicas,
            redeliver=self._plan.redeliver,
        )
        return Host(
            self._plan,
            self._folder,
            start,
            workers=self._plan.replicas,
            variables={**ray_node.SETTINGS, "CREWLAB_JOURNAL": str(self._journal.path)},
            name="ray",
        )

    def _name(self, number: int) -> str:
        return f"{self._plan.app.name}-{number}"

    def _note(self, backlog: Backlog, number: int, pid: int, thread: int, at: float) -> None:
        record = backlog.records[number]
        actor = next(n for n, known in self._pids.items() if known == pid)
        lanes = sum(known == pid for known, _ in self._threads)
        record.thread = self._threads.setdefault((pid, thread), lanes % self._plan.threads)
        record.replica = self._name(actor)
        record.started = max(0.0, at - (backlog.released or at))
        record.attempts += 1
        self._taken[actor] += 1

    def _finish(
        self, backlog: Backlog, kind: str, number: int, said: str, more: Any = None
    ) -> None:
        if kind == "answer":
            backlog.answered(number, said)
        elif kind == "error":
            text = shorten(more, self._folder) if more else None
            backlog.finish(number, "error", error=said, traceback=text)
        else:
            if more is not None:  # an actor that was dead already has noted nothing
                backlog.records[number].replica = self._name(more)
            backlog.finish(number, "lost", error=said)

    def _log(self, pid: int) -> str:
        files = sorted(self._session.glob(f"session_latest/logs/worker-*-{pid}.*"))
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in files]
        lines = "".join(texts).splitlines(keepends=True)
        marks = (":job_id:", ":actor_name:", ":task_name:")  # of Ray, for its own log monitor
        return "".join(line for line in lines if not line.startswith(marks))[-LOG_END:]


def _refuse_what_is_open(process: psutil.Process) -> None:
    for connection in process.net_connections():
        if connection.status != psutil.CONN_LISTEN:
            continue
        address = ipaddress.ip_address(connection.laddr.ip)
        if not (getattr(address, "ipv4_mapped", None) or address).is_loopback:
            raise ToldOSError(
                None,
                f"Ray listens on {address}, where other machines can reach it, so it was ended.\n"
                "It was told to stay on this machine; this version of it does not.\n"
                "Install the one of the course: .venv/bin/uv pip install -e '.[ray]'",
            )
