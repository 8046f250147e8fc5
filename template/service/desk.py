"""The desk: takes jobs in, so many at once and so many waiting, and none for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from service.jobs import Job, Report
from service.reports import KeyTaken, Reports
from service.settings import Settings

Write = Callable[[Job], Report]


class Full(Exception):
    """Every place is taken; the customer may come back in a few seconds."""


class Late(Exception):
    """The customer's time is up. The work goes on and is kept: the same key will find it."""


class Desk:
    """Does jobs on a few threads of its own, each job once for its key.

    A place is given back when the work has ended, not when its customer has left: otherwise slow
    work would pile up behind every limit.
    """

    def __init__(self, settings: Settings, reports: Reports, write: Write) -> None:
        """Open the desk.

        Args:
            settings: the service's.
            reports: where reports are found and kept.
            write: does a job on the thread that calls it.
        """
        self._settings = settings
        self._reports = reports
        self._write = write
        self._pool = ThreadPoolExecutor(settings.service_kickoffs, thread_name_prefix="kickoff")
        self._at_work: dict[str, tuple[Job, asyncio.Future[Report]]] = {}

    @property
    def busy(self) -> int:
        """How many jobs are worked on or wait."""
        return len(self._at_work)

    async def report(self, job: Job) -> Report:
        """Give the report of a job: the one that is kept, or a new one.

        Args:
            job: the job.

        Returns:
            Its report. A job whose key is worked on already waits for that one.

        Raises:
            Full: no place is free.
            Late: it takes longer than a customer waits.
            KeyTaken: the key belongs to a job about another company.
            Exception: whatever the storage or the kickoff raises.
        """
        work = self._join(job) or self._begin(job)
        try:
            return await asyncio.wait_for(asyncio.shield(work), self._settings.service_job_seconds)
        except TimeoutError:
            if work.done():
                raise  # the work itself ran into a time limit
            raise Late from None

    def close(self) -> None:
        """Finish what is worked on and take nothing more."""
        self._pool.shutdown(wait=True)

    def _join(self, job: Job) -> asyncio.Future[Report] | None:
        known = self._at_work.get(job.key)
        if known is None:
            return None
        if known[0] != job:
            raise KeyTaken
        return known[1]

    def _begin(self, job: Job) -> asyncio.Future[Report]:
        if self.busy >= self._settings.service_kickoffs + self._settings.service_waiting:
            raise Full
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._pool, self._do, job)
        self._at_work[job.key] = (job, work)
        work.add_done_callback(lambda done: self._end(job, done))
        return work

    def _end(self, job: Job, work: asyncio.Future[Report]) -> None:
        del self._at_work[job.key]
        if not work.cancelled():
            work.exception()  # looked at, so that nobody complains when its customer has left

    def _do(self, job: Job) -> Report:
        return self._reports.find(job) or self._reports.keep(job, self._write(job))
