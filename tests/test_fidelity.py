"""The simulation is honest: under a real engine, an app's kinds of outcome are those of scale."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from crewlab import Eviction, Run, scale
from crewlab.engines import celery, gunicorn, uvicorn
from crewlab.engines.fidelity import Fidelity, kinds
from crewlab.services import Services
from crewlab.services.shop import Shop
from tests.chapter_apps import ChapterApps

pytestmark = [
    pytest.mark.skipif(
        "forkserver" not in multiprocessing.get_all_start_methods(),
        reason="the engines fork their workers",
    ),
    pytest.mark.timeout(600),
]
WHOLE = os.environ.get("CREWLAB_TEST") == "whole"
whole = pytest.mark.skipif(not WHOLE, reason="only with CREWLAB_TEST=whole")
CROWD = {"replicas": 2, "threads": 4, "requests": 12, "timeout": 120}
ONE_EACH = {"replicas": 2, "requests": 4, "timeout": 120}


@pytest.fixture(autouse=True)
def _calm(services: Services) -> None:
    services.model.configure()
    services.model.reset()


def prefork(app: object, **options: object) -> Run:
    return celery(app, pool="prefork", **options)  # type: ignore[arg-type]


def threads(app: object, **options: object) -> Run:
    return celery(app, pool="threads", **options)  # type: ignore[arg-type]


def alone(app: object, **options: object) -> Run:
    return uvicorn(app, **{**options, "replicas": 1})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("chapter", "name", "engine"),
    [
        ("01", "broken", gunicorn),
        ("01", "fixed", threads),
        pytest.param("01", "broken", threads, marks=whole),
        pytest.param("01", "broken", alone, marks=whole),
        pytest.param("01", "copied", gunicorn, marks=whole),
        pytest.param("01", "old_style", gunicorn, marks=whole),
        pytest.param("01", "fixed", gunicorn, marks=whole),
        pytest.param("01", "fixed", alone, marks=whole),
        pytest.param("06", "fixed", gunicorn, marks=whole),
        pytest.param("02", "fixed", threads, marks=whole),
        pytest.param("04", "fixed", threads, marks=whole),
        pytest.param("08", "fixed", threads, marks=whole),
    ],
)
def test_a_crowd_of_requests_ends_in_the_same_kinds(
    services: Services, tmp_path: Path, chapter: str, name: str, engine: Callable[..., Run]
) -> None:
    app = ChapterApps(chapter, tmp_path).app(name)
    pair = scale(app, **CROWD), engine(app, **CROWD)  # type: ignore[arg-type]
    assert kinds(pair[0]) == kinds(pair[1])
    Fidelity({name: pair}).expect()


def test_a_shared_crew_is_safe_with_one_request_a_process_in_both(
    services: Services, tmp_path: Path
) -> None:
    app = ChapterApps("01", tmp_path).app("broken")
    scale(app, threads=1, **ONE_EACH).expect(ok="all")  # type: ignore[arg-type]
    prefork(app, **ONE_EACH).expect(ok="all")


@pytest.mark.parametrize(
    "engine",
    [prefork, pytest.param(lambda app, **o: gunicorn(app, preload=True, **o), marks=whole)],
)
def test_a_kickoff_before_the_fork_hangs_in_both(
    services: Services, tmp_path: Path, engine: Callable[..., Run]
) -> None:
    app = ChapterApps("06", tmp_path).app("broken")
    load = {"replicas": 2, "requests": 2, "timeout": 3}
    scale(app, threads=1, start_method="fork", **load).expect(timeout="all")  # type: ignore[arg-type]
    engine(app, **load).expect(timeout="all")


def test_a_job_that_was_acknowledged_early_is_lost_with_its_process_in_both(
    services: Services, tmp_path: Path
) -> None:
    app = ChapterApps("09", tmp_path).app("broken")
    shop = Shop(services)
    runs = []
    for engine, options in ((scale, {"threads": 1}), (prefork, {"settings": ONE_AT_A_TIME})):
        in_mid_job = shop.hold_jobs(2)
        evict = [Eviction(number, when=in_mid_job) for number in (0, 1)]
        load = {"replicas": 2, "requests": shop.orders(4), "env": shop.environment, "timeout": 120}
        runs.append(engine(app, evict=evict, **load, **options))  # type: ignore[operator]
    shop.hold_jobs(0)
    for run in runs:
        run.expect(ok=2, lost=2)


ONE_AT_A_TIME = {"worker_prefetch_multiplier": 1}


def test_a_kickoff_at_import_does_no_harm_where_nothing_is_forked_afterwards(
    services: Services, tmp_path: Path
) -> None:
    app = ChapterApps("06", tmp_path).app("broken")
    scale(app, replicas=1, threads=2, requests=2).expect(ok="all")
    alone(app, threads=2, requests=2).expect(ok="all")
