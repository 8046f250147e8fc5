"""Customers of the take-home service: all come at once, some come back, each has one outcome."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from crewlab.deployment.judge import NameJudge
from crewlab.results.html import html_table, varies
from crewlab.results.records import Kind, ReplicaRecord, RequestRecord
from crewlab.results.run import Run
from crewlab.results.text import table

LOOK = 0.05  # s between two looks at a condition
BACK_SOON = 0.5  # s until a customer comes back whose connection was cut
MEANINGS = {
    200: "a report",
    409: "the key belongs to another job",
    422: "this is no job",
    502: "the report could not be written",
    503: "every place is taken; come back later",
    504: "not done in time; ask again with the same key",
}


@dataclass(frozen=True)
class Reply:
    """What came back: ``status`` 0 means that the connection was cut."""

    status: int
    body: Any = None
    retry_after: float | None = None


@dataclass
class Answers(Run):
    """A run of the take-home service.

    Attributes:
        statuses: for each customer the HTTP status of each attempt, in order.
        told_when: how many of the refusals said when to come back.
    """

    statuses: list[list[int]] = field(default_factory=list)
    told_when: int = 0

    @property
    def refused(self) -> int:
        """Customers who were told at least once that every place is taken."""
        return sum(503 in attempts for attempts in self.statuses)

    def _rows(self) -> list[tuple[str, str, str]]:
        counts = Counter(status for attempts in self.statuses for status in attempts)
        rows = []
        for status, count in sorted(counts.items()):
            meaning = MEANINGS.get(status, "the connection was cut" if status == 0 else "")
            if status == 503 and self.told_when:
                meaning += f" ({self.told_when} with Retry-After)"
            rows.append((str(status or "-"), str(count), meaning))
        return rows

    def __str__(self) -> str:
        return f"{super().__str__()}\n{table([('STATUS', 'REPLIES', 'MEANING'), *self._rows()])}"

    def _repr_html_(self) -> str:
        rows = [[escape(cell) for cell in row] for row in self._rows()]
        columns = ("status", "replies", "meaning")
        return super()._repr_html_() + varies(html_table(columns, rows, "HTTP, all attempts"))

    def _ipython_display_(self) -> None:
        # No lanes: which worker had a customer is not known.
        from crewlab.results.show import show

        show(str(self), self._repr_html_())


class Customers:
    """Sends jobs to a port of this machine, each on a thread of its own."""

    def __init__(
        self,
        port: int,
        jobs: Sequence[Mapping[str, Any]],
        *,
        patience: float,
        come_back: bool = False,
    ) -> None:
        """Take the jobs in.

        Args:
            port: where the service listens.
            jobs: what each customer sends.
            patience: seconds each one has, all attempts together.
            come_back: whether they ask again after a refusal that says when.
        """
        self._port = port
        self._jobs = [dict(job) for job in jobs]
        self._patience = patience
        self._come_back = come_back
        self._judge = NameJudge([{"company": job.get("company")} for job in self._jobs])
        self._lock = threading.Lock()
        self._began = 0.0

    def send_all(
        self,
        replicas: Callable[[], list[ReplicaRecord]],
        when: Callable[[Answers], bool] | None = None,
        do: Callable[[], object] | None = None,
    ) -> Answers:
        """Send every job at the same moment and wait for all outcomes.

        Args:
            replicas: gives the workers' records, asked at the end.
            when: see ``Service.ask``.
            do: likewise.

        Returns:
            The answers.
        """
        answers = Answers(
            app="service",
            replicas=[],
            requests=[RequestRecord(n, job, "lost") for n, job in enumerate(self._jobs)],
            threads=1,
            start_method="uvicorn",
            startup_seconds=0.0,
            seconds=0.0,
            statuses=[[] for _ in self._jobs],
        )
        self._began = time.monotonic()
        senders = [
            threading.Thread(target=self._serve, args=(answers, number), daemon=True)
            for number in range(len(self._jobs))
        ]
        for sender in senders:
            sender.start()
        while when is not None and any(sender.is_alive() for sender in senders):
            if when(answers):
                if do is not None:
                    do()
                break
            time.sleep(LOOK)
        for sender in senders:
            sender.join()
        answers.seconds = time.monotonic() - self._began
        answers.replicas = replicas()
        return answers

    def request(self, method: str, path: str, body: Any = None, patience: float = 60.0) -> Reply:
        """Make one request.

        Raises:
            TimeoutError: no reply within the patience.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=patience)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json"})
            response = connection.getresponse()
            said = response.read()
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException):
            return Reply(0)
        finally:
            connection.close()
        content: Any = None
        with contextlib.suppress(ValueError):
            content = json.loads(said)
        wait = response.getheader("Retry-After")
        return Reply(response.status, content, float(wait) if wait and wait.isdigit() else None)

    def _serve(self, answers: Answers, number: int) -> None:
        deadline = self._began + self._patience
        while True:
            try:
                left = max(deadline - time.monotonic(), 0.01)
                reply = self.request("POST", "/reports", self._jobs[number], left)
            except TimeoutError:
                self._finish(answers, number, "timeout", error="no answer in time")
                return
            with self._lock:
                answers.statuses[number].append(reply.status)
                answers.requests[number].attempts += 1
                answers.told_when += reply.status == 503 and reply.retry_after is not None
            wait = BACK_SOON if reply.status == 0 else reply.retry_after
            if reply.status == 200 or wait is None or not self._come_back:
                break
            if time.monotonic() + wait > deadline:
                break
            time.sleep(wait)
        if reply.status == 200:
            text = str((reply.body or {}).get("text"))
            right = self._judge.is_right(number, text)
            self._finish(answers, number, "ok" if right else "wrong", answer=text)
        elif reply.status == 0:
            self._finish(answers, number, "lost", error="the connection was cut")
        else:
            said = (reply.body or {}).get("error", "") if isinstance(reply.body, dict) else ""
            self._finish(answers, number, "error", error=f"HTTP {reply.status}: {said}")

    def _finish(self, answers: Answers, number: int, kind: Kind, **what: str) -> None:
        record = answers.requests[number]
        record.kind, record.started = kind, 0.0
        record.finished = time.monotonic() - self._began
        for name, value in what.items():
            setattr(record, name, value)
