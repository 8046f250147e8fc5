"""Chapter 07: what is kept, what that costs, and that the repairs keep nothing."""

from __future__ import annotations

import os
import re
import sys

import pytest

from crewlab import App, ContractBroken, growth, scale
from crewlab.exercises.check import evaluate
from crewlab.results.run import Run
from crewlab.services import Services
from tests.chapter_apps import ChapterApps
from tests.whole import some

CHAPTER = "07"
A_REPLICA = 24
"""Requests for each replica: a leaking one is killed well before, at the latest at about 16."""

PINNING = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="only Linux holds processes to some cores"
)


@pytest.fixture(scope="module")
def limit(services: Services, tmp_path_factory: pytest.TempPathFactory) -> float:
    """Give the limit that the chapter chooses after its short test."""
    app = ChapterApps(CHAPTER, tmp_path_factory.mktemp("limit")).app("broken")
    alone = scale(app, replicas=1, threads=1, requests=4)
    alone.expect(ok="all")
    return round(alone.replicas[0].peak_memory) + 100


def said(run: Run, pattern: str) -> list[str]:
    """Find lines in the log of the first replica."""
    return re.findall(pattern, run.replicas[0].log, re.MULTILINE)


@pytest.mark.whole
@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_the_leaking_app_is_killed_and_the_plain_factory_is_not(
    apps: ChapterApps, limit: float, replicas: int
) -> None:
    load = {"replicas": replicas, "requests": replicas * A_REPLICA, "memory_limit": limit}
    crash = scale(apps.app("broken"), **load)
    crash.expect(status="OOMKilled", ok="some", lost="some", wrong="none", errors="none")
    growth(crash).expect(memory="grows")
    assert all(replica.peak_memory > limit for replica in crash.replicas)
    if sys.platform != "win32":  # which has no signals
        assert {replica.exit_code for replica in crash.replicas} == {137}
    repaired = scale(apps.app("fixed"), **load)
    repaired.expect(ok="all")
    growth(repaired).expect(memory="level", threads="level")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell how many are open")
def test_open_files_grow_with_the_leak(apps: ChapterApps) -> None:
    run = scale(apps.app("broken"), replicas=1, threads=1, requests=20)
    growth(run).expect(memory="grows", files="grows")


def test_the_contracts_complain_when_the_fixed_app_takes_the_broken_ones_place(
    apps: ChapterApps, limit: float
) -> None:
    replaced = apps.save("broken", apps.source("fixed"))
    run = scale(replaced, replicas=1, requests=A_REPLICA, memory_limit=limit)
    with pytest.raises(ContractBroken, match=f"Seen instead: {A_REPLICA} ok"):
        run.expect(status="OOMKilled", lost="some")
    with pytest.raises(ContractBroken, match="memory grows with each request"):
        growth(run).expect(memory="grows")


@pytest.mark.whole
def test_restarts_and_redelivery_lose_nothing_and_do_some_work_twice(
    apps: ChapterApps, limit: float
) -> None:
    run = scale(
        apps.app("broken"),
        replicas=2,
        requests=2 * A_REPLICA,
        memory_limit=limit,
        restarts=10,
        redeliver=5,
    )
    run.expect(ok="all")
    assert any(replica.restarts for replica in run.replicas)
    assert any(record.attempts > 1 for record in run.requests)


@pytest.mark.whole
def test_recycling_keeps_the_leaking_app_under_its_limit(apps: ChapterApps, limit: float) -> None:
    run = scale(
        apps.app("broken"),
        replicas=2,
        requests=2 * A_REPLICA,
        memory_limit=limit,
        recycle_after=8,
    )
    run.expect(ok="all", lost="none")
    assert all(record.attempts == 1 for record in run.requests)
    assert all(replica.peak_memory < limit for replica in run.replicas)
    assert all(replica.replaced for replica in run.replicas)


def counting(apps: ChapterApps, name: str) -> App:
    """Save the app that counts what is alive, beside the app it counts for."""
    source = apps.source("alive").replace("import broken", f"import {name} as broken")
    app = apps.save("alive", source)
    (app.path.parent / f"{name}.py").write_text(apps.source(name), encoding="utf-8")
    return app


def test_everything_of_a_finished_request_stays_alive(apps: ChapterApps) -> None:
    run = scale(counting(apps, "broken"), replicas=1, threads=1, requests=5)
    assert said(run, "^alive: .*") == [
        f"alive: {n} ReportCrew, {n} Crew, {n} Agent, {n} Task" for n in range(1, 6)
    ]


def test_nothing_of_a_finished_request_stays_alive_after_the_repair(apps: ChapterApps) -> None:
    run = scale(counting(apps, "fixed"), replicas=1, threads=1, requests=5)
    counts = [[int(n) for n in re.findall(r"\d+", line)] for line in said(run, "^alive: .*")]
    assert len(counts) == 5
    assert max(max(row) for row in counts) <= 1


def test_collecting_garbage_does_not_help_the_leaking_app(apps: ChapterApps) -> None:
    source = apps.source("broken") + "\n\nimport gc\n_run = run\n\n\ndef run(inputs):\n"
    source += "    answer = _run(inputs)\n    gc.collect()\n    return answer\n"
    run = scale(apps.save("broken", source), replicas=1, requests=A_REPLICA)
    growth(run).expect(memory="grows")


def test_one_instance_for_all_answers_about_customers_of_before(
    apps: ChapterApps, services: Services
) -> None:
    services.model.configure(latency=0.02)
    run = scale(apps.app("shared"), replicas=1, threads=1, requests=60)
    run.expect(wrong="some", errors="none", lost="none")
    names = [record.inputs["company"] for record in run.requests]
    for record in run.requests:
        if record.kind == "wrong":
            assert any(name in (record.answer or "") for name in names[: record.number])


COUNT_TIMERS = """

import threading

_run = run


def run(inputs):
    answer = _run(inputs)
    timers = sum(isinstance(thread, threading.Timer) for thread in threading.enumerate())
    print("\\ntimers:", timers, flush=True)
    return answer
"""


def test_each_kickoff_with_max_rpm_leaves_two_timers(apps: ChapterApps) -> None:
    app = apps.save("limited", apps.source("limited") + COUNT_TIMERS)
    run = scale(app, replicas=1, threads=1, requests=6)
    # One more may be there that was cancelled and is just ending.
    last = int(said(run, r"^timers: (\d+)")[-1])
    assert last in (12, 13)
    without = scale(app, replicas=1, threads=1, requests=2, env={"MAX_RPM": "0"})
    assert said(without, r"^timers: (\d+)") == ["0", "0"]


@pytest.mark.whole
def test_threads_grow_with_max_rpm_and_level_off_without(apps: ChapterApps) -> None:
    app = apps.app("limited")
    growth(scale(app, replicas=1, threads=1, requests=16)).expect(threads="grows")
    calm = scale(app, replicas=1, threads=1, requests=16, env={"MAX_RPM": "0"})
    growth(calm).expect(threads="level", memory="level")


def test_importing_crewai_takes_more_than_128_mib(apps: ChapterApps) -> None:
    run = scale(apps.app("fixed"), replicas=1, requests=2, start_method="spawn", memory_limit=128)
    run.expect(status="OOMKilled", lost="all")
    assert run.replicas[0].ready_after is None


@pytest.mark.whole
@PINNING
def test_eight_replicas_on_one_core_miss_the_probe_that_one_alone_meets(apps: ChapterApps) -> None:
    alone = scale(apps.app("fixed"), replicas=1, threads=4, requests=8, start_method="spawn")
    alone.expect(ok="all")
    needed = alone.replicas[0].ready_after
    assert needed is not None
    rush = scale(
        apps.app("fixed"),
        replicas=8,
        threads=1,
        requests=8,
        start_method="spawn",
        cores=1,
        startup_timeout=1.5 * needed,
    )
    rush.expect(error="ended at start-up with exit code 137")
    assert any("killed: not ready after" in event for r in rush.replicas for event in r.events)


def test_the_untouched_exercise_is_not_solved(apps: ChapterApps) -> None:
    result = evaluate("07", apps.app("billing_app", "exercise"))
    assert not result.solved
    assert result.message == "memory still grows with each request."
    assert "lives as long as the process" in (result.hint or "")


def test_the_solution_solves_the_exercise(apps: ChapterApps) -> None:
    assert evaluate("07", apps.app("billing_app", "solution")).solved


HANDLER = """    @crewai_event_bus.on(LLMCallCompletedEvent)
    def count(source, event) -> None:
        if source is llm:
            bill["calls"] += 1
"""
ONE_HANDLER = """BILLS: dict = {}


@crewai_event_bus.on(LLMCallCompletedEvent)
def count(source, event) -> None:
    if id(source) in BILLS:
        BILLS[id(source)]["calls"] += 1


def run("""
RETURN = "    return result.raw"


def test_one_handler_for_the_process_solves_it_as_well(apps: ChapterApps) -> None:
    app = apps.changed(
        "billing_app",
        "exercise",
        (HANDLER, "    BILLS[id(llm)] = bill\n"),
        ("def run(", ONE_HANDLER),
        (RETURN, "    del BILLS[id(llm)]\n    return result.raw"),
    )
    result = evaluate("07", app)
    assert result.solved, result


WRONG_ANSWERS = {
    "takes the handler off again": (
        (RETURN, "    crewai_event_bus.off(LLMCallCompletedEvent, count)\n    return result.raw"),
    ),
    "collects garbage": ((RETURN, "    import gc\n\n    gc.collect()\n    return result.raw"),),
    "one handler, bills never dropped": (
        (HANDLER, "    BILLS[id(llm)] = bill\n"),
        ("def run(", ONE_HANDLER),
    ),
    "keeps the purchases out of the bill": (
        ('"purchases": load_purchases(company), ', ""),
        ('str(len(bill["purchases"]))', "str(len(load_purchases(company)))"),
    ),
    "no longer counts": ((HANDLER, ""),),
    "no kickoff": (
        (
            "    result = Crew(agents=[clerk], tasks=[letter]).kickoff(inputs=inputs)\n",
            "    bill['calls'] = 1\n",
        ),
        (RETURN, '    return f"Dear {company}, thank you."'),
    ),
    "ends the worker": (
        (RETURN, "    import os\n\n    if company == 'Larkspire':\n        os._exit(0)\n" + RETURN),
    ),
}
ADVICE = {
    "takes the handler off again": "remembers the last 256 handlers",
    "collects garbage": "The collector frees what nothing refers to",
    "one handler, bills never dropped": "The crews are gone.",
    "keeps the purchases out of the bill": "lives as long as the process",
    "no longer counts": "Keep the line that prints the bill",
    "no kickoff": "each request needs a kickoff of its own",
    "ends the worker": "A worker that ends itself loses what it works on",
}


@pytest.mark.parametrize(
    "answer", some(WRONG_ANSWERS, "collects garbage", "ends the worker", "no kickoff")
)
def test_a_plausible_wrong_answer_is_not_solved_and_gets_a_hint(
    apps: ChapterApps, answer: str
) -> None:
    result = evaluate("07", apps.changed("billing_app", "exercise", *WRONG_ANSWERS[answer]))
    assert not result.solved
    assert ADVICE[answer] in (result.hint or ""), result
