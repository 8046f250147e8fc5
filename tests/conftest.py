"""What the tests of every chapter start from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crewlab.services import Services
from tests.chapter_apps import ChapterApps
from tests.services_tools import running_services


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    """Keep the local services running for the tests of one module."""
    with running_services() as running:
        yield running


@pytest.fixture
def apps(services: Services, request: pytest.FixtureRequest, tmp_path: Path) -> ChapterApps:
    """Give the apps of the chapter that the module calls CHAPTER, the services as new."""
    for endpoint in (services.model, services.search):
        endpoint.configure()
        endpoint.reset()
    return ChapterApps(request.module.CHAPTER, tmp_path)


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
