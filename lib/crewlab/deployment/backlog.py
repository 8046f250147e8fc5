"""The requests of one deployment: what waits, what is worked on, and each one's single outcome."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable

from crewlab.deployment.judge import NameJudge
from crewlab.deployment.plan import Plan
from crewlab.results.records import Kind, ReplicaRecord, RequestRecord
from crewlab.results.run import Run

Told = Callable[[RequestRecord], None]


class Backlog:
    """Every request from its release to its outcome.

    Attributes:
        records: one a request, in the order of the requests.
        released: when all requests were let go (``time.monotonic``), or None before that.
    """

    def __init__(self, plan: Plan, finished: Told) -> None:
        """Take the plan's requests in.

        Args:
            plan: the deployment.
            finished: called with each record that has just got its outcome.
        """
        self.records = [
            RequestRecord(number, inputs, "lost") for number, inputs in enumerate(plan.requests)
        ]
        self.released: float | None = None
        self._plan = plan
        self._finished = finished
        self._judge = NameJudge(plan.requests)
        self._waiting = deque(range(plan.at_first))
        self._later = range(plan.at_first, len(self.records))
        self._open = {*self._waiting, *self._later}

    @property
    def is_open(self) -> bool:
        """Whether a request still lacks its outcome."""
        return bool(self._open)

    @property
    def has_waiting(self) -> bool:
        """Whether a request waits for a replica."""
        return bool(self._waiting)

    @property
    def seconds(self) -> float:
        """Seconds since the release."""
        return 0.0 if self.released is None else time.monotonic() - self.released

    def release(self) -> None:
        """Let all requests go but those that come when the others are finished."""
        self.released = time.monotonic()

    def run(
        self,
        replicas: list[ReplicaRecord],
        *,
        start_method: str,
        startup_seconds: float,
        seconds: float,
        kind: type[Run] = Run,
    ) -> Run:
        """Make the result, once every request has its outcome.

        Args:
            replicas: what became of each.
            start_method: how its processes came to be, or the engine.
            startup_seconds: from the deployment's beginning until the release.
            seconds: from the release until the last outcome, before anything is taken down.
            kind: `Run`, or what an engine makes of it.
        """
        return kind(
            app=self._plan.app.name,
            replicas=replicas,
            requests=self.records,
            threads=self._plan.threads,
            start_method=start_method,
            startup_seconds=startup_seconds,
            seconds=seconds,
            own_judge=self._plan.judge is not None,
            memory_limit=self._plan.memory_limit,
        )

    def take(self, replica: str) -> RequestRecord | None:
        """Give the next request to a replica, or None if it has its outcome already."""
        record = self.records[self._waiting.popleft()]
        if record.number not in self._open:
            return None
        record.replica = replica
        record.attempts += 1
        return record

    def take_all(self) -> list[int]:
        """Give the numbers of all that wait now: a queue or a server takes in whatever comes."""
        numbers = list(self._waiting)
        self._waiting.clear()
        return numbers

    def started(self, number: int, thread: int) -> bool:
        """Note that a thread of a replica works on it; False if its outcome is there already."""
        if number not in self._open:
            return False
        record = self.records[number]
        record.thread, record.started = thread, self.seconds
        return True

    def answered(self, number: int, answer: str) -> None:
        """Judge an answer."""
        if self._plan.judge is not None:
            right = self._plan.judge(self._plan.requests[number], answer)
        else:
            right = self._judge.is_right(number, answer)
        self.finish(number, "ok" if right else "wrong", answer=answer)

    def dropped(self, numbers: Iterable[int], why: str) -> None:
        """Deal with what an ended replica had: deliver it once more where that is left, or lose it.

        Args:
            numbers: the requests it had not answered.
            why: what happened to the replica.
        """
        for number in sorted(numbers, reverse=True):
            if self.records[number].attempts <= self._plan.redeliver:
                self._waiting.appendleft(number)
            else:
                self.finish(number, "lost", error=why)

    def end_all(self, kind: Kind, why: str) -> None:
        """Give every request that is still open the same outcome."""
        for number in sorted(self._open):
            self.finish(number, kind, error=why)

    def finish(self, number: int, kind: Kind, **what: str | None) -> None:
        """Give a request its one outcome; whatever is heard of it later does not count.

        Args:
            number: the request.
            kind: the outcome.
            what: further fields of its record.
        """
        if number not in self._open:
            return
        self._open.discard(number)
        record = self.records[number]
        record.kind, record.finished = kind, self.seconds
        for name, value in what.items():
            setattr(record, name, value)
        if self._later and len(self._open) == len(self._later):
            self._waiting.extend(self._later)
            self._later = range(0)
        self._finished(record)
