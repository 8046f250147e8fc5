"""The requests of one run as jobs in a queue, and what becomes of each."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from crewlab.deployment.backlog import Backlog
from crewlab.engines.brokers import Broker
from crewlab.engines.celery_worker import configure
from crewlab.engines.workers import Workers

QUEUE = "jobs"
LOST = "WorkerLostError"
GONE = "the broker is gone, and the queue with it"
LOOK_AGAIN = 0.5  # s until a job of a killed worker counts as lost: its answer may be on its way
PATIENCE = 10.0  # s without a broker


class Jobs:
    """Sends each request as a job, and gives it its one outcome."""

    def __init__(
        self, backlog: Backlog, broker: Broker, workers: Workers, shorten: Callable[[str], str]
    ) -> None:
        """Take the requests in; ``send`` lets them go."""
        from celery import Celery

        self._backlog, self._broker, self._workers = backlog, broker, workers
        self._shorten = shorten
        self._queue = Celery("crewlab-client", set_as_current=False)
        configure(self._queue, broker.url, workers.run_id, {})
        self._queue.conf.broker_transport_options |= {"socket_timeout": 5}
        self._ids = {f"job-{record.number}": record.number for record in backlog.records}
        self._taken: Counter[int] = Counter()
        self._threads: dict[tuple[int, int], int] = {}
        self._holders: dict[int, int] = {}
        self._dead: dict[int, float] = {}
        self._silent_since: float | None = None

    def send(self) -> None:
        """Put into the queue what is there to be sent now."""
        for number in self._backlog.take_all():
            task_id, record = f"job-{number}", self._backlog.records[number]
            try:
                self._queue.send_task(
                    self._workers.task,
                    args=[record.inputs],
                    task_id=task_id,
                    retry=False,
                    ignore_result=False,
                )
            except Exception as problem:  # the client's own errors, of many kinds
                why = f"{type(problem).__name__}: {problem}"
                self._backlog.finish(number, "error", error=f"the queue did not take it; {why}")

    def taken(self, replica: int) -> int:
        """Count the jobs that a replica has begun."""
        return self._taken[replica]

    def worker_gone(self, pid: int) -> None:
        """Note that a worker was killed: what it had and the queue has not is lost."""
        self._dead[pid] = time.monotonic()

    def look(self) -> None:
        """See what was taken, and what has an outcome."""
        for what, task_id, pid, thread, at in self._workers.news():
            if what == "taken" and task_id in self._ids:
                self._note(self._ids[task_id], pid, thread, at)
        waiting = {t: n for t, n in self._ids.items() if self._backlog.records[n].finished == 0}
        try:
            self._answers(waiting)
            self._losses()
            self._silent_since = None
        except Exception:  # the client's own errors, of many kinds
            now = time.monotonic()
            self._silent_since = self._silent_since or now
            if now - self._silent_since > PATIENCE or self._is_gone():
                self._backlog.end_all("lost", GONE)

    def forget(self) -> None:
        """Take everything of this run out of the broker."""
        try:
            keys = list(self._broker.client.scan_iter(match=f"{self._workers.run_id}*", count=1000))
            if keys:
                self._broker.client.delete(*keys)
        except Exception:  # noqa: S110 - the broker may be gone, and all keys with it
            pass
        self._queue.close()

    def _is_gone(self) -> bool:
        return self._broker.is_ours and not self._broker.is_running()

    def _note(self, number: int, pid: int, thread: int, at: float) -> None:
        record = self._backlog.records[number]
        replica, record.replica = self._workers.name_of(pid)
        lanes = [key for key in self._threads if key[0] == replica]
        lane = self._threads.setdefault((replica, thread), len(lanes) % self._workers.lanes)
        record.thread = lane
        record.started = max(0.0, at - (self._backlog.released or at))
        record.attempts += 1
        self._holders[number] = pid
        self._taken[replica] += 1

    def _answers(self, waiting: dict[str, int]) -> None:
        if not waiting:
            return
        prefix = self._workers.run_id
        found = self._broker.client.mget([f"{prefix}celery-task-meta-{task}" for task in waiting])
        for number, text in zip(waiting.values(), found, strict=True):
            if text is not None:
                self._finish(number, json.loads(text))

    def _finish(self, number: int, said: dict[str, Any]) -> None:
        result = said["result"]
        if said["status"] == "SUCCESS" and isinstance(result, str):
            self._backlog.answered(number, result)
        elif said["status"] == "SUCCESS":
            why = f"TypeError: run() returned a {type(result).__name__}: return str."
            self._backlog.finish(number, "error", error=why)
        elif said["status"] in ("FAILURE", "REVOKED"):
            error = result or {}
            name, words = error.get("exc_type", "Error"), error.get("exc_message", "")
            text = " ".join(map(str, words)) if isinstance(words, list) else str(words)
            trace = said.get("traceback")
            self._backlog.finish(
                number,
                "lost" if name == LOST else "error",
                error=f"{name}: {text}" if text else name,
                traceback=trace and self._shorten(trace),
            )

    def _losses(self) -> None:
        """Find the jobs that a killed worker had taken and that the queue no longer has."""
        over = [pid for pid, at in self._dead.items() if time.monotonic() - at > LOOK_AGAIN]
        for pid in over:
            del self._dead[pid]
            kept = self._kept()
            for task_id, number in self._ids.items():
                if self._holders.get(number) == pid and task_id not in kept:
                    why = "its worker was killed, and the queue had forgotten the job"
                    self._backlog.finish(number, "lost", error=why)

    def _kept(self) -> set[str]:
        prefix, client = self._workers.run_id, self._broker.client
        messages = [json.loads(text)[0] for text in client.hvals(f"{prefix}unacked")]
        messages += [json.loads(text) for text in client.lrange(f"{prefix}{QUEUE}", 0, -1)]
        return {message["headers"]["id"] for message in messages}
