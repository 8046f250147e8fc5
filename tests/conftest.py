"""What the tests of every chapter start from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crewlab.capstone import STAGES
from crewlab.deployment import preload
from crewlab.engines import brokers
from crewlab.engines.brokers import Broker
from crewlab.services import Services, start
from tests.apps import write_app
from tests.chapter_apps import ChapterApps

# A walk through all chapters takes as long as all other tests together.
collect_ignore = [] if os.environ.get("CREWLAB_TEST") == "walk" else ["test_walk.py"]


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    """Keep the local services running, their environment set, for the tests of one module."""
    before = dict(os.environ)
    services = start()
    os.environ.update(services.environment)
    try:
        yield services
    finally:
        services.stop()
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def services_as_new(services: Services) -> None:
    """Let the services have their own settings and nothing in their journals."""
    for endpoint in (services.model, services.search):
        endpoint.configure()
        endpoint.reset()


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], Path]:
    """Save the source of an app."""
    return lambda source: write_app(tmp_path, source).path


@pytest.fixture
def apps(services_as_new: None, request: pytest.FixtureRequest, tmp_path: Path) -> ChapterApps:
    """Give the apps of the chapter that the module calls CHAPTER, the services as new."""
    return ChapterApps(request.module.CHAPTER, tmp_path)


@pytest.fixture(scope="module")
def broker(services: Services, request: pytest.FixtureRequest) -> Iterator[Broker]:
    """Have one broker for the tests of one module; a parameter names its server."""
    with brokers.temporary(server=getattr(request, "param", None)) as running:
        yield running


@pytest.fixture
def broker_in_environment(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lead the apps to that broker."""
    # CrewAI reads REDIS_URL when it is imported: a fork server that starts now would lead the
    # replicas of later tests to a broker that is gone.
    preload()
    monkeypatch.setenv("REDIS_URL", broker.url)


@pytest.fixture
def few_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have three stages in chapter 12."""
    few = {number: STAGES[number] for number in ("02", "03", "04")}
    monkeypatch.setattr("crewlab.capstone.STAGES", few)


@pytest.fixture
def mysteries(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Open every mystery of chapter 10 anew, in a work folder of the test's own."""
    from crewlab.mysteries import mystery

    monkeypatch.setattr("crewlab.workspace.chapter_folder", lambda name=None: tmp_path)
    mystery.cache_clear()
    yield
    mystery.cache_clear()
