"""Chapter 01: each broken app breaks with CrewAI's own error, each repair holds, checks judge."""

from __future__ import annotations

import pytest

from crewlab import ContractBroken, scale
from crewlab.exercises.check import evaluate
from tests.chapter_apps import ChapterApps
from tests.whole import sizes

CHAPTER = "01"
LOAD = {"threads": 6, "requests": 24}


@pytest.mark.parametrize("replicas", sizes(1, 2, 4, 8))
def test_the_global_crew_crashes_on_threads_at_any_number_of_replicas(
    apps: ChapterApps, replicas: int
) -> None:
    run = scale(apps.app("broken"), replicas=replicas, **LOAD)
    run.expect(error="Executor is already running", lost="none", timeout="none")
    assert "crewai/agents/agent_executor.py" in (run.first_traceback or "")
    assert set(run.errors) == {
        "RuntimeError: Executor is already running. "
        "Cannot invoke the same executor instance concurrently."
    }


def test_the_global_crew_answers_about_other_customers(apps: ChapterApps) -> None:
    run = scale(apps.app("broken"), replicas=4, **LOAD)
    run.expect(wrong="some")
    for record in run.requests:
        if record.kind == "wrong":
            assert record.error is None
            others = {r.inputs["company"] for r in run.requests} - {record.inputs["company"]}
            assert any(name in (record.answer or "") for name in others)


def test_separate_processes_do_not_share_the_crew(apps: ChapterApps) -> None:
    scale(apps.app("broken"), replicas=4, threads=1, requests=8).expect(ok="all")


@pytest.mark.parametrize("replicas", sizes(1, 2, 4, 8))
def test_the_factory_answers_every_request_right(apps: ChapterApps, replicas: int) -> None:
    scale(apps.app("fixed"), replicas=replicas, threads=8, requests=16).expect(ok="all")


def test_the_contract_complains_when_the_fixed_app_takes_the_broken_ones_place(
    apps: ChapterApps,
) -> None:
    run = scale(apps.save("broken", apps.source("fixed")), replicas=4, threads=4, requests=16)
    with pytest.raises(ContractBroken, match="Seen instead: 16 ok"):
        run.expect(error="Executor is already running", wrong="some", lost="none")


def test_copies_of_a_crew_that_was_kicked_off_answer_about_its_first_customer(
    apps: ChapterApps,
) -> None:
    run = scale(apps.app("copied"), replicas=2, threads=2, requests=8)
    run.expect(wrong="all")
    assert all("Yarrowdale" in (record.answer or "") for record in run.requests)


def test_a_chat_model_of_langchain_is_refused_and_wrapped_it_works(apps: ChapterApps) -> None:
    refused = scale(apps.app("old_style"), replicas=1, threads=1, requests=2)
    refused.expect(error="2 validation errors for Agent", errors="all")
    assert "llm.BaseLLM" in (refused.first_error or "")
    scale(apps.app("wrapped"), replicas=2, threads=4, requests=8).expect(ok="all")


def test_the_untouched_exercise_is_not_solved(apps: ChapterApps) -> None:
    result = evaluate("01", apps.app("helpdesk_app", "exercise"))
    assert not result.solved
    assert "meet in the same objects" in result.message


def test_the_solution_solves_the_exercise(apps: ChapterApps) -> None:
    assert evaluate("01", apps.app("helpdesk_app", "solution")).solved


WRONG_ANSWERS = {
    "a lock": (
        (
            "helpdesk = Helpdesk()",
            "import threading\nlock = threading.Lock()\nhelpdesk = Helpdesk()",
        ),
        (
            "    return helpdesk.answer(inputs)",
            "    with lock:\n        return helpdesk.answer(inputs)",
        ),
    ),
    "a retry": (
        (
            "    return helpdesk.answer(inputs)",
            "    import time\n"
            "    while True:\n"
            "        try:\n"
            "            return helpdesk.answer(inputs)\n"
            "        except RuntimeError:\n"
            "            time.sleep(0.05)",
        ),
    ),
    "no kickoff": (
        ("    return helpdesk.answer(inputs)", "    return f\"Report on {inputs['company']}.\""),
    ),
}
ADVICE = {
    "a lock": "A lock lets one kickoff at a time",
    "a retry": "Hiding the error does not part the customers",
    "no kickoff": "each request needs a kickoff of its own",
}


@pytest.mark.parametrize("answer", WRONG_ANSWERS)
def test_a_plausible_wrong_answer_is_not_solved_and_gets_a_hint(
    apps: ChapterApps, answer: str
) -> None:
    app = apps.changed("helpdesk_app", "exercise", *WRONG_ANSWERS[answer])
    result = evaluate("01", app)
    assert not result.solved
    assert ADVICE[answer] in (result.hint or "")
