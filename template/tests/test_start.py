"""Importing does nothing but import, and jobs leave nothing behind."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from botocore.exceptions import ClientError
from starlette.testclient import TestClient

from service.jobs import Job
from service.settings import Settings
from tests.stand_ins import Model

IMPORT = """
import sys, threading
before = threading.active_count()
import service.app
print(threading.active_count() - before, file=sys.__stdout__)
"""
START = """
import sys
from crewai.agents.agent_executor import AgentExecutor
from openai.types.chat import ChatCompletion
from openai.types.completion_usage import CompletionUsage
from starlette.testclient import TestClient
import service.app

def built():
    flow = "_flow_definition" in AgentExecutor.__dict__
    return flow, ChatCompletion.__pydantic_complete__, CompletionUsage.__pydantic_complete__

print(*built(), file=sys.__stdout__)
with TestClient(service.app.app):
    print(*built(), file=sys.__stdout__)
"""


def run_alone(program: str, variables: dict[str, str]) -> list[str]:
    """Run a program in a new process, and give the lines that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **variables},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.fixture
def app(model: Model, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Give the module of the app; the log and the output of the tests stay as they are."""
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield importlib.import_module("service.app")
    root.handlers[:], root.level = before


def test_it_is_ready_from_its_start_to_its_end(app: ModuleType) -> None:
    client = TestClient(app.app)
    assert client.get("/ready").status_code == 503
    with client:
        assert client.get("/ready").status_code == 200
    assert client.get("/ready").status_code == 503
    assert client.get("/live").status_code == 200


def test_it_does_not_become_ready_without_its_storage(
    app: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = app.SETTINGS.model_copy(update={"service_bucket": "no-such-bucket"})
    monkeypatch.setattr(app, "SETTINGS", lacking)
    with pytest.raises(ClientError, match="404"), TestClient(app.app):
        pass


def test_importing_the_service_asks_nobody(model: Model, variables: dict[str, str]) -> None:
    threads = run_alone(IMPORT, variables)[-1]
    assert model.asked == 0
    assert int(threads) == 0  # a thread would not survive a fork


def test_a_worker_has_built_what_first_kickoffs_would_build_without_a_lock(
    model: Model, variables: dict[str, str]
) -> None:
    *_, imported, ready = [
        line for line in run_alone(START, variables) if line.startswith(("True", "False"))
    ]
    assert imported == "False False False"
    assert ready == "True True True"
    assert model.asked == 0


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc, as Linux has it")
def test_jobs_leave_no_thread_and_no_file_behind(
    model: Model, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from service.crew import write_report

    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = Settings()  # type: ignore[call-arg]

    def held() -> tuple[int, int]:
        gc.collect()
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    def work(jobs: int) -> None:
        for number in range(jobs):
            write_report(settings, Job(company="Aldermoor", key=str(number)))

    model.latency = 0
    work(5)
    threads, files = held()
    work(20)
    more_threads, more_files = held()
    # A leak would be one a job: see chapter 07.
    assert more_threads - threads < 10
    assert more_files - files < 10
