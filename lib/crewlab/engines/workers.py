"""Celery's workers of one run: started, watched, killed, replaced, and gone at the end."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from crewlab.deployment.evictions import Watch
from crewlab.deployment.plan import Plan
from crewlab.engines.brokers import Broker
from crewlab.engines.host import Host
from crewlab.engines.journal import Journal
from crewlab.memory import resident
from crewlab.results.records import ReplicaRecord

if TYPE_CHECKING:
    from crewlab.engines.jobs import Jobs

NOBODY = 0  # in place of the process id of a worker that did not come


class Workers:
    """All Celery workers of one run.

    Attributes:
        run_id: stands in front of each key that the run has at the broker.
        task: the task's name, known once they are ready.
        news: gives what they have written into the journal since the last call.
        error: what kept all of them from coming, or made the last one end.
    """

    def __init__(
        self, plan: Plan, folder: Path, broker: Broker, pool: str, settings: dict[str, Any]
    ) -> None:
        """Start them."""
        self.run_id = f"crewlab:{secrets.token_hex(6)}:"
        self.task = ""
        self.error: str | None = None
        self._plan, self._folder, self._pool = plan, folder, pool
        self._numbers = itertools.count()
        self._journal = Journal(folder)
        self.news = self._journal.news
        self._variables = {
            "CREWLAB_BROKER_URL": broker.url,
            "CREWLAB_RUN": self.run_id,
            "CREWLAB_POOL": pool,
            "CREWLAB_SETTINGS": json.dumps(settings),
            "CREWLAB_JOURNAL": str(self._journal.path),
        }
        self._watches = [Watch(eviction) for eviction in plan.evictions]
        self._events: list[list[str]] = [[] for _ in range(plan.replicas)]
        self._lost: dict[int, int] = {}
        masters = 1 if pool == "prefork" else plan.replicas
        self._hosts = [self._start(number) for number in range(masters)]
        self._ended: list[Host] = []
        self._pids: list[int] = []

    @property
    def lanes(self) -> int:
        """How many jobs a replica works on at the same time."""
        return self._plan.threads

    def wait(self) -> None:
        """Wait until all can take jobs; `error` says what went wrong if they do not come."""
        deadline = time.monotonic() + self._plan.startup_timeout
        came = [host for host in self._hosts if host.wait_until(lambda: True, deadline)]
        for host in came:
            host.wait_until(lambda: self._listen(len(came)), deadline)
        if all(host.error for host in self._hosts):
            self.error = self._hosts[0].error
        self._pids = self._now()

    def name_of(self, pid: int) -> tuple[int, str]:
        """Give the number and the name of the replica that a process plays."""
        if pid not in self._pids:
            # A fresh one: it plays the replica whose process is gone.
            gone = next((n for n, old in enumerate(self._pids) if old in self._lost), None)
            if gone is None:
                number = min(len(self._pids), self._plan.replicas - 1)
                return number, f"{self._plan.app.name}-{number}"
            self._pids[gone] = pid
        number = self._pids.index(pid)
        return number, f"{self._plan.app.name}-{number}"

    def look_after(self, jobs: Jobs) -> None:
        """Kill what is due to be killed and replace it, and notice who ended by himself."""
        for watch in list(self._watches):
            number = watch.eviction.replica
            if number < len(self._pids) and watch.is_due(jobs.taken(number)):
                self._watches.remove(watch)
                self._kill(number, jobs, "killed with SIGKILL, and replaced")
        if (limit := self._plan.memory_limit) is not None:
            for number, pid in enumerate(self._pids):
                if pid not in self._lost and _memory(pid) > limit:
                    why = f"killed: memory above its limit of {limit:g} MiB, and replaced"
                    self._kill(number, jobs, why)
        for host in self._hosts:
            if host not in self._ended and host.has_ended():
                self._ended.append(host)
                for pid in host.pids():
                    jobs.worker_gone(pid)
        if all(host in self._ended for host in self._hosts):
            self.error = self._hosts[0].error

    def records(self) -> list[ReplicaRecord]:
        """Describe every replica as it is now."""
        names = [f"{self._plan.app.name}-{number}" for number in range(self._plan.replicas)]
        if self._pool == "prefork":
            found = self._hosts[0].records(names)
        else:
            found = [host.records([name])[0] for host, name in zip(self._hosts, names, strict=True)]
        for record, events in zip(found, self._events, strict=True):
            record.replaced = len(events)
            record.events += events
        return found

    def stop(self) -> None:
        """End all of them; nothing of them is left when this returns."""
        for host in self._hosts:
            host.stop(0)

    def _start(self, replica: int) -> Host:
        number = next(self._numbers)
        prefork = self._pool == "prefork"
        concurrency = self._plan.replicas if prefork else self._plan.threads
        command = [
            *("celery", "--app", "crewlab.engines.celery_worker", "worker"),
            *("--pool", self._pool, "--concurrency", str(concurrency)),
            *("--hostname", f"worker-{number}@crewlab", "--loglevel", "INFO", "--without-gossip"),
            *("--without-mingle", "--without-heartbeat"),
        ]
        return Host(
            self._plan,
            self._folder,
            command,
            workers=concurrency if prefork else 1,
            variables=self._variables,
            name=f"worker-{number}",
            replica=replica,
        )

    def _listen(self, workers: int) -> bool:
        listening = [line for line in self._journal.all() if line[0] == "listening"]
        if listening:
            self.task = listening[0][1]
        return len(listening) >= workers

    def _now(self) -> list[int]:
        if self._pool == "prefork":
            return self._hosts[0].pids()[: self._plan.replicas]
        return [(host.pids() or [NOBODY])[0] for host in self._hosts]

    def _kill(self, number: int, jobs: Jobs, why: str) -> None:
        pid = self._pids[number]
        if pid == NOBODY:
            return
        self._lost[pid] = number
        self._events[number].append(why)
        if self._pool == "prefork":
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            return
        self._hosts[number].stop(0)
        jobs.worker_gone(pid)
        self._hosts[number] = self._start(number)


def _memory(pid: int) -> float:
    """Read a process's resident memory, MiB; 0 if it is gone."""
    if pid != NOBODY:
        with contextlib.suppress(psutil.Error):
            return resident(psutil.Process(pid))
    return 0.0
