"""So many jobs at once, so many waiting, each key once, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from service.desk import Desk, Full, Late
from service.jobs import Job, Report
from service.reports import KeyTaken
from service.settings import Settings
from tests.stand_ins import Model


class Shelf:
    """Keeps reports in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Report] = {}

    def find(self, job: Job) -> Report | None:
        return self.kept.get(job.key)

    def keep(self, job: Job, report: Report) -> Report:
        return self.kept.setdefault(job.key, report)


class Writer:
    """Writes reports once it is let; counts how many, and how many at once."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.began = threading.Semaphore(0)
        self.wrote: list[str] = []
        self.now = self.peak = 0
        self._lock = threading.Lock()

    def __call__(self, job: Job) -> Report:
        with self._lock:
            self.now += 1
            self.peak = max(self.peak, self.now)
        self.began.release()
        self.go.wait(30)
        with self._lock:
            self.now -= 1
            self.wrote.append(job.key)
        if job.company == "Nobody":
            raise RuntimeError("no such company")
        return Report(company=job.company, text=f"Report on {job.company}.")


Make = Callable[..., Desk]


@pytest.fixture
def writer() -> Iterator[Writer]:
    writer = Writer()
    yield writer
    writer.go.set()


@pytest.fixture
def make(
    model: Model, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], writer: Writer
) -> Make:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = Settings()  # type: ignore[call-arg]

    def desk(**limits: float) -> Desk:
        named = {f"service_{name}": value for name, value in limits.items()}
        return Desk(settings.model_copy(update=named), Shelf(), writer)  # type: ignore[arg-type]

    return desk


def jobs(number: int) -> list[Job]:
    return [Job(company=f"Company{n}", key=str(n)) for n in range(number)]


async def begin(desk: Desk, some: list[Job]) -> list[asyncio.Task[Report]]:
    tasks = [asyncio.create_task(desk.report(job)) for job in some]
    await asyncio.sleep(0)
    return tasks


def test_no_more_work_at_once_than_allowed_and_all_of_it_done(make: Make, writer: Writer) -> None:
    async def play() -> list[Report]:
        tasks = await begin(make(kickoffs=2, waiting=8), jobs(6))
        await asyncio.to_thread(writer.began.acquire)
        await asyncio.to_thread(writer.began.acquire)
        writer.go.set()
        return await asyncio.gather(*tasks)

    reports = asyncio.run(play())
    assert [report.company for report in reports] == [job.company for job in jobs(6)]
    assert writer.peak == 2


def test_one_more_than_there_are_places_is_refused_at_once(make: Make, writer: Writer) -> None:
    async def play() -> list[Report]:
        desk = make(kickoffs=1, waiting=2)
        tasks = await begin(desk, jobs(3))
        one_more = asyncio.create_task(desk.report(Job(company="Late", key="late")))
        await asyncio.sleep(0)
        writer.go.set()
        with pytest.raises(Full):
            await one_more
        return await asyncio.gather(*tasks)

    assert len(asyncio.run(play())) == 3


def test_the_same_key_at_the_same_time_is_worked_on_once(make: Make, writer: Writer) -> None:
    async def play() -> list[Report]:
        desk = make()
        tasks = await begin(desk, jobs(1) * 3)
        writer.go.set()
        reports = await asyncio.gather(*tasks)
        return [*reports, await desk.report(jobs(1)[0])]

    reports = asyncio.run(play())
    assert len({report.text for report in reports}) == 1
    assert writer.wrote == ["0"]


def test_the_same_key_for_somebody_else_is_refused(make: Make, writer: Writer) -> None:
    async def play() -> None:
        desk = make()
        tasks = await begin(desk, jobs(1))
        with pytest.raises(KeyTaken):
            await desk.report(Job(company="Eastvale", key="0"))
        writer.go.set()
        await asyncio.gather(*tasks)

    asyncio.run(play())


def test_a_customer_whose_time_is_up_leaves_and_finds_the_report_later(
    make: Make, writer: Writer
) -> None:
    async def play() -> Report:
        desk = make(job_seconds=0.05, kickoffs=1, waiting=1)
        with pytest.raises(Late):
            await desk.report(jobs(1)[0])
        assert desk.busy == 1  # the place is taken as long as the work goes on
        writer.go.set()
        while desk.busy:
            await asyncio.sleep(0.01)
        return await desk.report(jobs(1)[0])

    assert asyncio.run(play()).company == "Company0"
    assert writer.wrote == ["0"]


def test_a_job_that_fails_gives_its_place_back(make: Make, writer: Writer) -> None:
    writer.go.set()

    async def play() -> Report:
        desk = make(kickoffs=1, waiting=0)
        for attempt in range(3):
            with pytest.raises(RuntimeError, match="no such company"):
                await desk.report(Job(company="Nobody", key=str(attempt)))
        return await desk.report(Job(company="Aldermoor", key="good"))

    assert asyncio.run(play()).company == "Aldermoor"


def test_closing_waits_for_what_is_worked_on(make: Make, writer: Writer) -> None:
    async def play() -> list[Report]:
        desk = make()
        tasks = await begin(desk, jobs(2))
        writer.go.set()
        await asyncio.to_thread(desk.close)
        return await asyncio.gather(*tasks)

    assert len(asyncio.run(play())) == 2
