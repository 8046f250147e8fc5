"""Chapter 05: unbounded tools overload a quota, bounded ones fill it, checks tell which."""

from __future__ import annotations

import json
import sys

import pytest

from crewlab import App, ContractBroken, scale
from crewlab.exercises.check import evaluate
from crewlab.overload import QUOTA, demand, side_by_side
from crewlab.services import Services
from tests.chapter_apps import ChapterApps
from tests.whole import sizes, some

CHAPTER = "05"
PER_CUSTOMER = 7  # one turn of the agent, six reviews
ONE = {"replicas": 1, "threads": 1, "requests": 1}


def test_one_replica_passes_because_its_requests_are_fewer_than_the_quota(
    apps: ChapterApps, services: Services
) -> None:
    alone = demand(apps.app("broken"), replicas=1)
    alone.expect(ok="all", refused="none")
    assert alone.sent == PER_CUSTOMER
    assert services.model.stats().peak_in_flight < QUOTA


@pytest.mark.parametrize("replicas", sizes(2, 4, 8))
def test_more_replicas_overload_the_model_and_customers_fail(
    apps: ChapterApps, services: Services, replicas: int
) -> None:
    storm = demand(apps.app("broken"), replicas=replicas)
    storm.expect(error="Rate limit reached", errors="some", lost="none")
    if replicas > 2:  # two replicas are over the quota by a little only
        storm.expect(refused="many")
    assert storm.refused
    assert services.model.stats().peak_in_flight == QUOTA
    assert storm.sent > PER_CUSTOMER * replicas


@pytest.mark.parametrize("replicas", sizes(1, 2, 4, 8))
def test_the_bounded_pool_serves_every_customer_with_no_request_in_vain(
    apps: ChapterApps, replicas: int
) -> None:
    calm = demand(apps.app("fixed"), replicas=replicas)
    calm.expect(ok="all", refused="few")
    assert calm.sent - calm.refused == PER_CUSTOMER * replicas


def test_the_contract_complains_when_the_fixed_app_takes_the_broken_ones_place(
    apps: ChapterApps,
) -> None:
    calm = demand(apps.save("broken", apps.source("fixed")), replicas=2)
    with pytest.raises(ContractBroken, match="Seen instead: 2 ok"):
        calm.expect(error="Rate limit reached", errors="some", refused="many")
    with pytest.raises(ContractBroken, match="refuses many requests"):
        calm.expect(refused="many")
    same = side_by_side({"broken": {2: calm}, "fixed": {2: calm}})
    with pytest.raises(ContractBroken):
        same.expect(breaks_at=[2])


@pytest.mark.whole
def test_customers_who_come_back_to_the_broken_app_cost_several_rounds_and_most_requests(
    apps: ChapterApps,
) -> None:
    app, waiting, rounds, sent = apps.app("broken"), 4, 0, 0
    while waiting and rounds < 8:
        again = demand(app, replicas=waiting)
        waiting -= again.run.ok
        sent += again.sent
        rounds += 1
    assert rounds > 1
    assert sent > 2 * 4 * PER_CUSTOMER


def test_without_the_policy_answers_are_written_although_the_tool_has_failed(
    apps: ChapterApps,
) -> None:
    silent = demand(beside("quiet", "broken", apps), replicas=4)
    silent.expect(ok="all", refused="many")
    answers = [record.answer or "" for record in silent.run.requests]
    assert any("[failed tools: 1]" in answer for answer in answers)


def test_pages_on_fifty_threads_are_killed_for_their_memory_and_six_at_a_time_fit(
    apps: ChapterApps,
) -> None:
    pages = apps.app("pages")
    scale(pages, memory_limit=480, **ONE).expect(status="OOMKilled", lost="all")
    bounded = scale(pages, memory_limit=480, env={"PAGES_AT_ONCE": "6"}, **ONE)
    bounded.expect(ok="all")


LIMIT_ADDRESSES = """\
import ctypes
import resource
import threading
from pathlib import Path

ctypes.CDLL(None).mallopt(-8, 1)  # one arena: what is left is for the heap, not for reserves
threading.stack_size(128 * 2**20)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 600 * 2**20,) * 2)
"""
LIMIT_FILES = """\
import os
import resource

used = len(os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_NOFILE, (used + 12,) * 2)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limits are read from /proc")
@pytest.mark.parametrize(
    ("limit", "says"),
    [
        pytest.param(LIMIT_ADDRESSES, ("can't start new thread",), id="threads"),
        pytest.param(
            LIMIT_FILES,
            ("unable to open database file", "Connection error", "Too many open files"),
            id="file descriptors",
            marks=pytest.mark.whole,
        ),
    ],
)
def test_the_same_pool_meets_other_limits_as_well(
    apps: ChapterApps, services: Services, limit: str, says: tuple[str, ...]
) -> None:
    services.model.configure(latency=1.0)
    source = apps.source("pages").replace("1654 * 2339 * 3", "1")
    run = scale(apps.save("pages", limit + source), **ONE)
    run.expect(errors="all")
    assert any(text in (run.first_error or "") for text in says)


LAYERS = """\
from crewai import LLM, Agent, Crew, Task
from crewai.llms import retry as of_crewai
from langchain_openai import ChatOpenAI
from tenacity import retry, stop_after_attempt

chat = ChatOpenAI(model="gpt-4o-mini")
waits = []
of_crewai.run_with_rate_limit_retry.__kwdefaults__["sleep"] = waits.append  # nobody waits here


def of_a_tool():
    return retry(stop=stop_after_attempt(3), reraise=True)(chat.invoke)("Hello")


def of_an_agent():
    agent = Agent(role="A", goal="B", backstory="C", llm=LLM(model="gpt-4o-mini"))
    task = Task(description="Say hello.", expected_output="A word.", agent=agent)
    return Crew(agents=[agent], tasks=[task]).kickoff()


def waits_of_an_agent():
    try:
        of_an_agent()
    except Exception:
        return waits


def run(inputs):
    return f"{inputs['call']}: {globals()[inputs['call']]()}"
"""


@pytest.mark.parametrize(("call", "requests"), [("of_a_tool", 9), ("of_an_agent", 27)])
def test_the_layers_of_retries_multiply(
    apps: ChapterApps, services: Services, call: str, requests: int
) -> None:
    refuse = dict.fromkeys(range(1, 100), 429)
    services.model.configure(latency=0, retry_after=0.01, errors=refuse)
    app = apps.save("layers", LAYERS)
    run = scale(app, replicas=1, threads=1, requests=[{"call": call}], timeout=120)
    run.expect(errors="all", error="429")
    assert services.model.stats().total == requests


def test_crewais_own_layer_does_not_wait_as_openai_says(
    apps: ChapterApps, services: Services
) -> None:
    refuse = dict.fromkeys(range(1, 100), 429)
    services.model.configure(latency=0, retry_after=30, errors=refuse)
    source = LAYERS.replace(
        'llm=LLM(model="gpt-4o-mini")', 'llm=LLM(model="gpt-4o-mini", max_retries=0)'
    )
    app = apps.save("layers", source)
    run = scale(app, replicas=1, threads=1, requests=[{"call": "waits_of_an_agent"}])
    run.expect(ok="all")
    waits = json.loads((run.requests[0].answer or "").partition(": ")[2])
    assert len(waits) == 2 * 3
    assert all(wait < 3 for wait in waits)


def test_a_refused_request_of_the_fixed_app_waits_as_told_and_is_sent_once_more(
    apps: ChapterApps, services: Services
) -> None:
    services.model.configure(latency=0, retry_after=1.0, errors={2: 429})
    env = {"MODEL_QUOTA": "1", "REPLICAS": "1"}
    scale(apps.app("fixed"), env=env, **ONE).expect(ok="all")
    calls = services.model.journal()
    assert len(calls) == PER_CUSTOMER + 1
    refused = next(call for call in calls if call.status == 429)
    again = next(call for call in calls if call.ordinal == refused.ordinal + 1)
    assert again.started - refused.finished > 0.9  # the second it was told, and a random part


def test_a_limit_of_each_process_is_too_high_when_more_replicas_start_than_planned(
    apps: ChapterApps,
) -> None:
    demand(apps.app("fixed"), replicas=4, planned=2).expect(refused="many")


@pytest.mark.parametrize(("replicas", "planned"), some([(1, 2), (8, 4)], (1, 2)))
def test_a_shared_limit_holds_however_many_replicas_start(
    apps: ChapterApps, services: Services, replicas: int, planned: int
) -> None:
    bucket = services.storage.new_bucket()
    app = beside("shared", "fixed", apps)
    env = {"TICKETS_BUCKET": bucket}
    demand(app, replicas=replicas, planned=planned, env=env).expect(ok="all", refused="few")
    left = services.storage.client().list_objects_v2(Bucket=bucket)["KeyCount"]
    assert left == 0, "every ticket is given back"


@pytest.mark.whole
def test_a_ticket_whose_holder_died_is_taken_over_after_its_lease(
    apps: ChapterApps, services: Services
) -> None:
    bucket = services.storage.new_bucket()
    services.storage.client().put_object(Bucket=bucket, Key="tickets/0", Body=b"a dead replica's")
    app, env = beside("shared", "fixed", apps), {"TICKETS_BUCKET": bucket}
    demand(app, replicas=1, env=env, timeout=3).expect(timeout="all")
    text = app.path.read_text(encoding="utf-8")
    assert "seconds=60" in text
    app.path.write_text(text.replace("seconds=60", "seconds=1"), encoding="utf-8")
    demand(app, replicas=1, env=env).expect(ok="all")


def test_the_untouched_exercise_is_not_solved(apps: ChapterApps) -> None:
    result = evaluate("05", apps.app("translate_app", "exercise"))
    assert not result.solved
    assert "the model refuses requests" in result.message


def test_the_solution_solves_the_exercise(apps: ChapterApps) -> None:
    assert evaluate("05", apps.app("translate_app", "solution")).solved


def bounded(number: str) -> tuple[str, str]:
    return ("patient.batch(prompts)", f'patient.batch(prompts, {{"max_concurrency": {number}}})')


PATIENT = (
    "patient = chat.with_retry(stop_after_attempt=2, wait_exponential_jitter=False)",
    'patient = ChatOpenAI(model="gpt-4o-mini", max_retries=30)',
)
WRONG_ANSWERS = {
    "more retries": (PATIENT,),
    "the number that is right for two replicas": (bounded("4"),),
    "one at a time": (bounded("1"),),
    "errors left out": (
        ("reply.text for", "reply.text if hasattr(reply, 'text') else '' for"),
        ("patient.batch(prompts)", "patient.batch(prompts, return_exceptions=True)"),
    ),
    "no calls": (
        (
            "    crew = Crew(",
            "    return f\"Report on {inputs['company']}\"\n    crew = Crew(",
        ),
    ),
}
ADVICE = {
    "more retries": "Patience hides the overload",
    "the number that is right for two replicas": "too high for 8",
    "one at a time": "take all of your share",
    "errors left out": "Patience hides the overload",
    "no calls": "Send every prompt to the model",
}


@pytest.mark.parametrize(
    "answer",
    some(WRONG_ANSWERS, "the number that is right for two replicas", "errors left out", "no calls"),
)
def test_a_plausible_wrong_answer_is_not_solved_and_gets_a_hint(
    apps: ChapterApps, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else what two replicas send may just fit into the quota where no processor time is to spare.
    monkeypatch.setattr("crewlab.overload.LATENCY", 1.0)
    app = apps.changed("translate_app", "exercise", *WRONG_ANSWERS[answer])
    result = evaluate("05", app)
    assert not result.solved
    assert ADVICE[answer] in (result.hint or "")


@pytest.mark.whole
def test_a_bound_that_leaves_languages_out_is_not_solved(apps: ChapterApps) -> None:
    app = apps.changed(
        "translate_app", "solution", ("chat.batch(prompts,", "chat.batch(prompts[:2],")
    )
    result = evaluate("05", app)
    assert not result.solved
    assert "not all of the work" in result.message


def test_without_a_local_model_the_chapter_says_why_it_cannot_run(
    apps: ChapterApps, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "model_is_local", False)
    with pytest.raises(ValueError, match="no local one to overload"):
        demand(apps.app("broken"), replicas=1)


def test_the_model_has_its_own_settings_back_afterwards(
    apps: ChapterApps, services: Services
) -> None:
    before = services.model.settings
    demand(apps.app("broken"), replicas=1)
    assert services.model.settings == before


def beside(name: str, other: str, apps: ChapterApps) -> App:
    """Save an app in the folder of the app it imports, where a chapter's apps are together."""
    path = apps.app(other).path.with_name(f"{name}.py")
    path.write_text(apps.source(name), encoding="utf-8")
    return App.from_file(path)
