"""The simulation is honest: under a real engine, an app's kinds of outcome are those of scale."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crewlab import App
from crewlab.building import Project
from crewlab.building.chapter import read_chapter
from crewlab.services import Services
from tests.chapter_apps import ChapterApps
from tests.fidelity_loads import A_REPLICA, ERRORS, LOADS, PATIENCE, Loads, start
from tests.fidelity_table import ENGINES, PREFORK, RAY, Row, kinds, left_out, rows
from tests.hosts import can_fork, with_ray

pytestmark = pytest.mark.timeout(600)
ROWS = rows()
CAUSES = [f"{number:02}" for number in range(1, 10)]


@pytest.fixture(scope="module")
def loads(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loads]:
    """Have one set of services and one run under scale a row for all engines."""

    def app_of(chapter: str, name: str) -> App:
        return ChapterApps(chapter, tmp_path_factory.mktemp("apps")).app(name)

    yield Loads(services, app_of)


def cases() -> list[object]:
    return [
        pytest.param(row, engine, id=f"{row.name}, {engine}", marks=[can_fork, *marks(row, engine)])
        for row in ROWS
        for engine in row.engines
    ]


def marks(row: Row, engine: str) -> list[pytest.MarkDecorator]:
    """Say which runs of the tests start this engine for this row."""
    if engine == RAY:
        return [with_ray]
    return [] if engine in row.always else [pytest.mark.whole]


@pytest.mark.parametrize(("row", "engine"), cases())
def test_the_kinds_of_outcome_are_the_same(loads: Loads, row: Row, engine: str) -> None:
    simulated, real = loads.simulated(row), loads.run(row, engine)
    assert kinds(simulated) - row.by_luck == kinds(real) - row.by_luck


SAYING_WHO = """

from os import getpid

report = run


def run(inputs: dict) -> str:
    return f"{report(inputs)} Process {getpid()}"
"""


@can_fork
@pytest.mark.whole
def test_celerys_own_memory_limit_replaces_a_child_after_its_job(
    loads: Loads, tmp_path: Path
) -> None:
    """What chapter 13 says of it: it is no kill, and nothing is lost."""
    apps = ChapterApps("07", tmp_path)
    app = apps.save("broken", apps.source("broken") + SAYING_WHO)
    load = {"replicas": 1, "requests": A_REPLICA, "timeout": PATIENCE}
    settings = {"worker_max_memory_per_child": int(loads.limit(PREFORK) * 1024)}  # KiB
    run = start(app, PREFORK, {**load, "settings": settings})
    run.expect(ok="all")
    assert all(record.attempts == 1 for record in run.requests)
    assert len({(record.answer or "").split()[-1] for record in run.requests}) > 1


def test_every_broken_and_every_fixed_app_of_the_causes_is_compared_or_it_is_said_why_not() -> None:
    named = {(row.chapter, row.app) for row in ROWS}
    named |= {(row.chapter, row.app) for row in left_out() if row.why}
    for path in Project.find().select(CAUSES):
        apps = {
            (path.name[:2], cell.app_name)
            for cell in read_chapter(path).cells
            if cell.app_name and {"broken", "fixed"} & {*cell.tags}
        }
        assert len(apps) >= 2
        assert apps <= named


def test_the_table_is_read_to_its_last_word() -> None:
    """A row that is read as another one would be tested as another one."""
    assert {row.name for row in ROWS} >= ERRORS.keys()
    assert [row.name for row in ROWS if row.name not in LOADS] == [
        row.name for row in ROWS if row.chapter == "09"
    ]
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert all({*row.engines} <= ENGINES and row.outcome for row in ROWS)
    assert len(left_out()) >= 1
    first = ROWS[0]
    assert first.outcome == {"errors": "some", "wrong": "some"}
    assert (first.by_luck, first.paid, first.always) == ({"ok"}, {}, ("gunicorn",))
    killed = next(row for row in ROWS if row.load == "two killed in mid-job")
    assert (killed.outcome, killed.paid) == ({"ok": 2, "lost": 2}, {"once": "all"})


def test_every_row_names_an_app_of_its_chapter(loads: Loads) -> None:
    for row in ROWS:
        assert loads.app_of(row.chapter, row.app).path.is_file()
