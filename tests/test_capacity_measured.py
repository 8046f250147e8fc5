"""The capacity model beside real runs: what is measured is true, and n replicas need n times."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from crewlab import ContractBroken, scale
from crewlab.capacity import measure, verify
from crewlab.capacity.measuring import Reading
from crewlab.capacity.model import (
    Deployment,
    Measured,
    cost_of,
    memory,
    most_in_quota,
)
from crewlab.services import Services
from tests.apps import ASK
from tests.chapter_apps import ChapterApps
from tests.kernels import Cell, Kernel, kernel

CHAPTER = "13"
WIDGET = "application/vnd.jupyter.widget-view+json"
REPLICAS = (1, 2, 4, 8, 16, 32)
# 16 and 32 imports at once starve the tests beside them: CREWLAB_STORM=32 for this file alone.
STORM = int(os.environ.get("CREWLAB_STORM", "8"))

# An app without CrewAI whose costs are known: it holds 30 MiB, computes, and asks the model twice.
KNOWN = (
    ASK
    + """
import threading, time

def compute(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass

compute(0.3)
HELD = []
lock = threading.Lock()

def run(inputs):
    with lock:
        if not HELD:
            HELD.append(os.urandom(30 * 2**20))
            compute(1.0)
    compute(0.2)
    print("x" * 100_000, end="")
    ask(inputs["company"])
    return ask(inputs["company"])
"""
)


@pytest.fixture
def fresh(services: Services) -> Services:
    services.model.configure()
    services.model.reset()
    return services


def saved(folder: Path, source: str) -> Path:
    path = folder / "known.py"
    path.write_text(source, encoding="utf-8")
    return path


@pytest.mark.timeout(300)
def test_an_app_of_known_costs_is_measured_as_it_is(fresh: Services, tmp_path: Path) -> None:
    measured = measure(saved(tmp_path, KNOWN))
    request = measured.request
    assert (measured.app, measured.threads) == ("known", 2)
    assert request.calls == 2
    assert request.call_seconds >= 0.1  # the local model's latency
    assert request.prompt_tokens >= 2
    assert request.completion_tokens > 2 * 20
    assert 0.2 <= request.cpu < 0.5  # the second that only the first request takes is not in it
    assert 30 <= measured.alone.private < 150
    assert measured.alone.start_cpu > 0.3
    assert not (tmp_path / "measured_known.py").exists()


@pytest.mark.timeout(300)
def test_without_preloading_there_is_no_preloaded_replica(
    fresh: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREWLAB_PRELOAD", "off")
    app = saved(tmp_path, "def run(inputs):\n    return inputs['company']\n")
    measured = measure(app, threads=1)
    assert measured.preloaded is None
    assert (measured.request.calls, measured.request.tokens) == (0, 0)


# Its first request takes a while, and the app bears no other one beside it.
ALONE = """
import threading, time
first, warm = threading.Lock(), threading.Event()

def run(inputs):
    if not warm.is_set():
        if not first.acquire(blocking=False):
            raise RuntimeError("two first requests")
        time.sleep(0.5)
        warm.set()
    return inputs["company"]
"""


@pytest.mark.timeout(300)
def test_the_first_request_of_a_process_is_alone(fresh: Services, tmp_path: Path) -> None:
    assert measure(saved(tmp_path, ALONE), threads=8).threads == 8


@pytest.mark.timeout(300)
def test_an_app_that_fails_has_no_costs(fresh: Services, tmp_path: Path) -> None:
    app = saved(tmp_path, "def run(inputs):\n    raise RuntimeError('closed')\n")
    with pytest.raises(ContractBroken, match="answers 0 of 4 customers") as broken:
        measure(app)
    assert "RuntimeError: closed" in str(broken.value)
    assert len(str(broken.value).splitlines()) <= 3


def test_a_model_of_the_learners_own_counts_nothing_here(
    fresh: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fresh, "model_is_local", False)
    with pytest.raises(ValueError, match="counts calls and tokens") as refused:
        measure(saved(tmp_path, KNOWN))
    assert len(str(refused.value).splitlines()) <= 3


# --- the calculator in a notebook ---------------------------------------------------------------

FIGURES = (
    "from crewlab.capacity.model import Measured, Replica, Request\n"
    "figures = Measured('report', 2, Replica(200, 40, 5), Replica(40, 250, 0.01),"
    " Request(0.1, 2, 300, 100, 0.1))"
)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A notebook somebody sits before."""
    home = tmp_path_factory.mktemp("learner") / "home"
    with kernel(home, notebook=home.parent / "notebooks" / "90_test.ipynb") as notebook:
        notebook.load()
        notebook.run(FIGURES)
        # What calculator() builds, so that a cell can type into its fields.
        notebook.run(
            "from crewlab.capacity import widget\n"
            "opened = []\n"
            "build = widget._Calculator.__init__\n"
            "def note(self, *given):\n"
            "    build(self, *given)\n"
            "    opened.append(self)\n"
            "widget._Calculator.__init__ = note"
        )
        yield notebook


def is_picture(cell: Cell) -> bool:
    shown = [*cell.bundles, *cell.updates]
    found = [bundle["image/png"] for bundle in shown if "image/png" in bundle]
    return len(found) == 1 and base64.b64decode(found[0]).startswith(b"\x89PNG")


def test_a_live_notebook_gets_fields_a_table_and_a_picture(live: Kernel) -> None:
    cell = live.run("capacity.calculator(figures, replicas=1000, requests_per_minute=600)")
    assert cell.status == "ok", cell.error
    assert WIDGET in cell.bundles[0]
    assert "from replica 6 on" in cell.updates[0]["text/plain"]
    assert "<table" in cell.updates[0]["text/html"]
    assert is_picture(cell)


def test_a_change_of_a_field_works_everything_out_again_and_says_so(live: Kernel) -> None:
    live.run("capacity.calculator(figures, replicas=1000, requests_per_minute=600)")
    cell = live.run("opened[-1].fields['replicas'].value = 7")
    assert cell.status == "ok", cell.error
    assert "7 replicas x 2 threads" in cell.updates[0]["text/plain"]
    assert is_picture(cell)
    said = live.run("print(opened[-1].status.value)").text
    assert 'role="status"' in said
    assert "for 7 replicas" in said
    cell = live.run("opened[-1].fields['preloaded'].value = True")
    assert "7 replicas x 2 threads, preloaded" in cell.updates[0]["text/plain"]


def test_a_price_that_is_typed_in_is_worked_with_and_none_is_there_before(live: Kernel) -> None:
    cell = live.run("capacity.calculator(figures)")
    assert "type in your provider's price" in cell.updates[0]["text/plain"]
    cell = live.run("opened[-1].fields['prompt_price'].value = 10.0")
    assert "0.003000" in cell.updates[0]["text/plain"]


def test_every_field_has_its_label_and_can_be_reached_by_keyboard(live: Kernel) -> None:
    live.run("capacity.calculator(figures)")
    shown = live.run(
        "from crewlab.capacity.widget import LABELS\n"
        "fields = opened[-1].fields\n"
        "print(all(fields[name].description == LABELS[name] for name in LABELS))\n"
        "print({type(field).__name__ for field in fields.values()}"
        " <= {'BoundedIntText', 'BoundedFloatText', 'Checkbox'})"
    ).text
    assert shown == "True\nTrue\n"


def test_a_notebook_run_by_a_tool_gets_tables_and_picture_and_no_fields(live: Kernel) -> None:
    live.run("import os; name = os.environ.pop('JPY_SESSION_NAME')")
    cell = live.run("capacity.calculator(figures, replicas=1000)")
    live.run("os.environ['JPY_SESSION_NAME'] = name")
    assert cell.status == "ok", cell.error
    table, _ = cell.bundles
    assert table["text/plain"].startswith("~~~ varies\n")
    assert "Memory is linear" in table["text/plain"]
    assert not any(WIDGET in bundle for bundle in cell.bundles)
    assert is_picture(cell)


# --- predicted against measured, up to what this machine can carry ------------------------------


@pytest.fixture(scope="module")
def report(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Path:
    services.model.configure()
    return ChapterApps(CHAPTER, tmp_path_factory.mktemp("report")).app("report").path


@pytest.fixture(scope="module")
def measured(report: Path) -> Measured:
    return measure(report)


def affordable(found: Measured, *, preloaded: bool) -> list[int]:
    """Give the numbers of replicas that take at most half of the memory that is free here."""
    free = psutil.virtual_memory().available / 2**20 / 2
    replica = cost_of(found, preloaded=preloaded)
    return [number for number in REPLICAS if memory(replica, number) <= free]


def assert_linear(found: Measured, readings: dict[int, Reading], *, preloaded: bool) -> None:
    """Nothing of a replica's costs depends on how many there are; times only by a factor."""
    replica = cost_of(found, preloaded=preloaded)
    for number, reading in readings.items():
        requests = number * found.threads
        assert len(reading.calls) == 2 * requests * found.request.calls
        assert 1 / 3 < reading.request_cpu / requests / found.request.cpu < 3
        if number >= 8 and reading.proportional:  # what is shared is in it, once
            assert reading.proportional == pytest.approx(memory(replica, number), rel=0.2)


@pytest.mark.whole
@pytest.mark.timeout(1800)
def test_preloaded_replicas_need_what_the_model_says(report: Path, measured: Measured) -> None:
    numbers = affordable(measured, preloaded=True)
    found = verify(measured, report, replicas=numbers)
    print(found)
    found.expect(within=0.25)
    assert_linear(measured, dict(found.readings), preloaded=True)


@pytest.mark.whole
@pytest.mark.timeout(3600)
def test_replicas_that_import_start_as_late_as_the_model_says(
    report: Path, measured: Measured
) -> None:
    numbers = [number for number in affordable(measured, preloaded=False) if number <= STORM]
    found = verify(measured, report, replicas=numbers, start_method="spawn")
    print(found)
    found.expect(within=0.25)
    assert_linear(measured, dict(found.readings), preloaded=False)
    for number, reading in found.readings.items():
        cpu = sum(reading.start_cpu)
        assert 1 / 3 < cpu / number / measured.alone.start_cpu < 3
        # Nothing can be ready before its work is done; how much later depends on who else works.
        assert reading.run.startup_seconds > 0.8 * cpu / found.cores
        if number >= 4 * found.cores:  # they share the cores, so all are late together
            ready = [replica.ready_after or 0.0 for replica in reading.run.replicas]
            assert min(ready) > max(ready) / 2


@pytest.mark.whole
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("times", "requests", "refused"), [(1, 40, False), (8, 80, True)])
def test_429s_come_above_the_boundary_and_not_below(
    fresh: Services, report: Path, measured: Measured, times: int, requests: int, refused: bool
) -> None:
    # 30 calls in 15 s are 120 a minute. A call takes 1 s, so two threads never send that many.
    wanted = Deployment(threads=2, call_seconds=1.0, requests_per_minute=120)
    boundary = int(most_in_quota(measured.request, wanted))
    fresh.model.configure(latency=1.0, quota=30, quota_seconds=15.0, retry_after=1.0)
    run = scale(report, replicas=times * boundary, threads=2, requests=requests, timeout=600)
    statuses = fresh.model.stats().by_status
    assert boundary == 1
    assert run.ok + run.error == requests
    assert (statuses.get(429, 0) > 0) == refused
