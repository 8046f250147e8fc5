"""The requests of one run as jobs in a queue, and what becomes of each."""

from __future__ import annotations

import contextlib
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
NOT_TOLD = "its answer did not get into the broker"
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
        self._not_told: dict[int, tuple[float, str]] = {}
        self._sent: set[int] = set()
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
                self._sent.add(number)
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
        for what, task_id, pid, thread, at, words in self._workers.news():
            if what == "taken" and task_id in self._ids:
                self._note(self._ids[task_id], pid, thread, at)
            elif what == "not told" and task_id in self._ids:
                self._not_told[self._ids[task_id]] = (at, words)
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

    def out_of_time(self, what: str) -> None:
        """Give every job without an outcome a timeout, with what is known about it.

        Args:
            what: happened.
        """
        trouble, kept = self._broker.trouble(), set(self._ids)
        with contextlib.suppress(Exception):  # the client's own errors, of many kinds
            kept = self._kept()
        for task_id, number in self._ids.items():
            reasons = [what]
            if number in self._not_told:
                reasons += [NOT_TOLD, self._not_told[number][1]]
            else:
                gone = number in self._sent and task_id not in kept
                if trouble and gone and number not in self._holders:
                    reasons.append("the queue no longer has it, and no worker began it")
                elif self._not_told and task_id in kept:
                    reasons.append("it waits behind one whose answer did not get into the broker")
                reasons += [trouble] if trouble else []
            self._backlog.finish(number, "timeout", error="; ".join(reasons))

    def nobody_left(self, error: str) -> None:
        """Give up every job without an outcome: all workers have ended.

        Args:
            error: what ended them.
        """
        with contextlib.suppress(Exception):  # the client's own errors, of many kinds
            self._losses(after=0)
        reason = self._broker.trouble()
        why = f"{reason}; {error}" if reason else error
        self._backlog.end_all("lost", f"no replica is left to take it; {why}")

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

    def _losses(self, after: float = LOOK_AGAIN) -> None:
        """Find the jobs without an outcome that the queue no longer has.

        A worker that is gone had taken them, or their answer did not get into the broker.
        """
        now = time.monotonic()
        dead = {pid for pid, at in self._dead.items() if now - at >= after}
        not_told = {n: why for n, (at, why) in self._not_told.items() if now - at >= after}
        if not dead and not not_told:
            return
        kept = self._kept()
        for task_id, number in self._ids.items():
            if task_id in kept:
                continue
            if number in not_told:
                why = f"{NOT_TOLD}; {not_told[number]}"
                self._backlog.finish(number, "error", error=why)
            elif self._holders.get(number) in dead:
                why = "its worker is gone, and the queue had forgotten the job"
                self._backlog.finish(number, "lost", error=why)
        for pid in dead:
            del self._dead[pid]
        for number, why in not_told.items():  # the queue has it still, so it may come again
            self._not_told[number] = (now, why)

    def _kept(self) -> set[str]:
        prefix, client = self._workers.run_id, self._broker.client
        messages = [json.loads(text)[0] for text in client.hvals(f"{prefix}unacked")]
        messages += [json.loads(text) for text in client.lrange(f"{prefix}{QUEUE}", 0, -1)]
        return {message["headers"]["id"] for message in messages}
