"""Chapter 08: CrewAI's limits do not hold, those at client, tool and process do, checks judge."""

from __future__ import annotations

import os

import pytest

from crewlab import App, ContractBroken, Run, scale
from crewlab.chapters import ch08
from crewlab.exercises.check import evaluate
from crewlab.services import Services
from tests.chapter_apps import ChapterApps
from tests.whole import sizes, some

CHAPTER = "08"
ALL = range(1, 1000)
POOL = min(32, (os.cpu_count() or 1) + 4)
"""Threads of asyncio's default executor; newer Pythons count the usable processors, at most."""


def customers(count: int, **inputs: object) -> list[dict[str, object]]:
    return [{"company": f"Customer-{number}", **inputs} for number in range(1, count + 1)]


# --- the agent's limit ---------------------------------------------------------------------------


def test_the_agents_limit_is_reported_only_after_the_tool_has_ended(
    apps: ChapterApps, services: Services
) -> None:
    services.search.configure(latency=3)
    run = scale(apps.app("broken"), replicas=2, threads=2, requests=4)
    run.expect(error="execution timed out after 2 seconds", errors="all")
    assert min(request.finished for request in run.requests) >= 3
    assert "_execute_with_timeout" in (run.first_traceback or "")
    # Two calls for each customer: the report that comes too late is finished all the same.
    assert services.model.stats().by_status == {200: 8}


@pytest.mark.parametrize("replicas", sizes(1, 4))
def test_silent_searches_on_every_thread_leave_no_customer_an_answer(
    apps: ChapterApps, services: Services, replicas: int
) -> None:
    services.search.configure(hang=range(1, 2 * replicas + 1))
    run = scale(
        apps.app("broken"), replicas=replicas, threads=2, requests=4 * replicas, timeout=2.5
    )
    run.expect(timeout="all")
    assert services.search.stats().total <= 2 * replicas


@pytest.mark.parametrize("replicas", sizes(1, 4))
def test_limits_in_tool_and_client_answer_everybody_through_the_same_silence(
    apps: ChapterApps, services: Services, replicas: int
) -> None:
    services.search.configure(hang=range(1, 2 * replicas + 1))
    services.model.configure(hang=[1])
    scale(apps.app("fixed"), replicas=replicas, threads=2, requests=4 * replicas).expect(ok="all")


def test_the_contract_complains_when_the_fixed_app_takes_the_broken_ones_place(
    apps: ChapterApps, services: Services
) -> None:
    services.search.configure(hang=[1, 2])
    app = apps.save("broken", apps.source("fixed"))
    run = scale(app, replicas=1, threads=2, requests=2)
    with pytest.raises(ContractBroken, match="Seen instead: 2 ok"):
        run.expect(timeout="all")


def test_the_fixed_app_does_not_wait_for_a_slow_search(
    apps: ChapterApps, services: Services
) -> None:
    services.search.configure(latency=20)
    scale(apps.app("fixed"), replicas=1, threads=2, requests=2).expect(ok="all")
    assert not services.search.stats().by_status.get(200)


def test_a_plain_llm_leaves_the_wait_to_the_sdk_which_takes_ten_minutes(apps: ChapterApps) -> None:
    source = (
        "from crewai import LLM\n"
        "from openai import OpenAI\n"
        "def run(inputs):\n"
        "    given = LLM(model='gpt-4o-mini')._get_client_params()\n"
        "    return f\"{'timeout' in given} {OpenAI(api_key='x').timeout.read:g}\"\n"
    )
    run = scale(apps.save("patience", source), replicas=1, threads=1, requests=[{}])
    assert run.requests[0].answer == "False 600"


# --- the same limit, asynchronously --------------------------------------------------------------

ASYNC = """
import asyncio
import threading

from broken import build_crew

loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()


async def report(inputs):
    return (await build_crew().akickoff(inputs=inputs)).raw


def run(inputs):
    return WAY
"""
ON_ONE_LOOP = "asyncio.run_coroutine_threadsafe(report(inputs), loop).result()"
ON_ITS_OWN = "asyncio.run(report(inputs))"


def asynchronous(apps: ChapterApps, way: str) -> App:
    app = apps.save("asynchronous", ASYNC.replace("WAY", way))
    (app.path.parent / "broken.py").write_text(apps.source("broken"), encoding="utf-8")
    return app


@pytest.mark.whole
def test_tools_that_hang_keep_their_threads_and_later_kickoffs_never_make_a_call(
    apps: ChapterApps, services: Services
) -> None:
    services.search.configure(hang=ALL)
    run = scale(asynchronous(apps, ON_ONE_LOOP), replicas=1, threads=POOL, requests=2 * POOL)
    run.expect(error="execution timed out after 2 seconds", errors="all")
    # Each search holds a thread for good; who comes when all are held never calls anybody.
    assert services.search.stats().total <= POOL
    assert services.model.stats().total < 2 * POOL


@pytest.mark.whole
def test_asyncio_run_waits_for_the_tool_that_akickoff_has_left(
    apps: ChapterApps, services: Services
) -> None:
    services.search.configure(latency=4)
    run = scale(asynchronous(apps, ON_ITS_OWN), replicas=1, threads=1, requests=1)
    run.expect(error="execution timed out after 2 seconds", errors="all")
    assert run.requests[0].finished >= 4


# --- retries and max_rpm -------------------------------------------------------------------------


def failing(app: App, services: Services, status: int) -> Run:
    services.model.configure(errors=dict.fromkeys(ALL, status), retry_after=0.01)
    run = scale(app, replicas=1, threads=1, requests=1)
    run.expect(error=f"Error code: {status}", errors="all")
    return run


@pytest.mark.parametrize(
    ("app", "status", "calls"),
    some([("throttled", 500, 9), ("throttled", 429, 27), ("fixed", 500, 3)], ("fixed", 500, 3)),
)
def test_layers_of_retries_multiply(
    apps: ChapterApps, services: Services, app: str, status: int, calls: int
) -> None:
    failing(apps.app(app), services, status)
    assert services.model.stats().by_status == {status: calls}


@pytest.mark.whole
def test_crewais_own_retry_of_a_429_does_not_heed_retry_after(
    apps: ChapterApps, services: Services
) -> None:
    failing(apps.app("fixed"), services, 429)
    journal = services.model.journal()
    assert len(journal) == 9
    # Its second pause is 2 s, a fifth more or less; the header, in whole seconds, said 1.
    assert journal[6].started - journal[5].finished >= 1.6


@pytest.mark.whole
def test_max_rpm_lets_each_customer_start_and_then_sleeps(
    apps: ChapterApps, services: Services
) -> None:
    services.model.configure(latency=0)
    run = scale(apps.app("throttled"), replicas=1, threads=2, requests=2, timeout=6)
    run.expect(timeout="all")
    assert 3 < services.model.stats().total <= 6


def test_max_rpm_sleeps_with_its_lock_held(apps: ChapterApps) -> None:
    source = (
        "import threading\n"
        "from crewai.utilities.rpm_controller import RPMController\n"
        "def run(inputs):\n"
        "    controller = RPMController(max_rpm=1)\n"
        "    controller.check_or_wait()\n"
        "    sleeper = threading.Thread(target=controller.check_or_wait, daemon=True)\n"
        "    sleeper.start()\n"
        "    while not controller._lock.locked():\n"
        "        sleeper.join(0.01)\n"
        "    return f'got it: {controller._lock.acquire(timeout=1)}'\n"
    )
    run = scale(apps.save("sleeper", source), replicas=1, threads=1, requests=[{}])
    assert run.requests[0].answer == "got it: False"


# --- a tool that never returns -------------------------------------------------------------------


@pytest.mark.whole
def test_a_tool_that_holds_pythons_lock_stops_everybody_behind_it(apps: ChapterApps) -> None:
    scale(apps.app("letters"), replicas=1, threads=1, requests=3, timeout=2).expect(timeout="all")


def test_a_deadline_around_the_process_costs_one_job_and_names_the_line(apps: ChapterApps) -> None:
    env = {"JOB_DEADLINE": "4"}
    run = scale(apps.app("letters"), replicas=1, threads=1, requests=3, restarts=1, env=env)
    run.expect(ok=2, lost=1)
    [replica] = run.replicas
    assert (replica.restarts, replica.exit_code) == (1, 1)
    first = next(line for line in replica.log.splitlines() if "letters.py" in line)
    assert first.endswith("in find_order")


# --- event loops ---------------------------------------------------------------------------------


def test_kickoff_in_a_coroutine_is_refused_and_a_limit_hides_the_refusal(
    apps: ChapterApps, services: Services
) -> None:
    app = apps.app("web")
    refused = scale(app, replicas=1, threads=4, requests=customers(4, method="kickoff"))
    refused.expect(error="synchronously from within a running event loop", errors="all")
    assert services.model.stats().total == 0
    hidden = scale(app, replicas=1, threads=4, requests=customers(4, method="kickoff", limit=60))
    hidden.expect(ok="all")
    assert services.model.stats().peak_in_flight == 1


@pytest.mark.whole
def test_the_default_pool_caps_the_kickoffs_of_a_loop_and_a_larger_one_does_not(
    apps: ChapterApps, services: Services
) -> None:
    count = POOL + 6
    # Nobody is answered, so who is at the model stays there: the peak is who got a thread.
    services.model.configure(hang=ALL)
    load = {"replicas": 1, "threads": count, "requests": customers(count, method="akickoff")}
    scale(apps.app("web"), **load, timeout=2)
    assert services.model.stats().peak_in_flight <= POOL
    services.model.reset()
    scale(apps.app("web"), **load, timeout=4, env={"REPORT_THREADS": str(count)})
    assert services.model.stats().peak_in_flight > POOL


# --- the exercise --------------------------------------------------------------------------------


@pytest.fixture
def short_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off sooner what waits for ever anyway."""
    monkeypatch.setattr(ch08, "CUT_OFF", 3.0)


@pytest.mark.usefixtures("short_cut_off")
def test_the_untouched_exercise_is_not_solved(apps: ChapterApps) -> None:
    result = evaluate("08", apps.app("briefing", "exercise"))
    assert not result.solved
    assert "customers wait for the silent news service" in result.message


def test_the_solution_solves_the_exercise(apps: ChapterApps, services: Services) -> None:
    services.search.configure(latency=0.04)
    learners = services.search.settings
    assert evaluate("08", apps.app("briefing", "solution")).solved
    assert services.search.settings == learners, "the check has left settings of its own"


IN_TIME = ("return session.post(NEWS, json", "return session.post(NEWS, timeout=1, json")


@pytest.mark.whole
def test_a_limit_in_the_search_is_enough_with_the_pool_left_as_it_is(apps: ChapterApps) -> None:
    assert evaluate("08", apps.changed("briefing", "exercise", IN_TIME)).solved


@pytest.mark.whole
def test_a_tool_may_let_its_timeout_through_to_the_agent(apps: ChapterApps) -> None:
    caught = ("except requests.Timeout:", "except ZeroDivisionError:")
    assert evaluate("08", apps.changed("briefing", "solution", caught)).solved


WITH = "    with ThreadPoolExecutor(max_workers=1) as pool:\n"
WRONG_ANSWERS: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "a limit for the agent": (
        "exercise",
        (("max_retry_limit=0", "max_retry_limit=0,\n        max_execution_time=1"),),
    ),
    "a limit for the agent, too": (
        "solution",
        (
            ("max_retry_limit=0", "max_retry_limit=0,\n        max_execution_time=1"),
            ("timeout=1)", "timeout=1.5)"),
        ),
    ),
    "wait_for": (
        "exercise",
        (
            ("import os\n", "import asyncio\nimport os\n"),
            (WITH, "    async def ask():\n        return await asyncio.to_thread(a, company)\n\n"),
            ("to_thread(a,", "to_thread(ask_news,"),
            ("        news = pool.submit(ask_news, company)\n        try:\n", "    try:\n"),
            (
                "            return news.result(timeout=1)\n        except TimeoutError:\n    ",
                "        return asyncio.run(asyncio.wait_for(ask(), 1))\n"
                "    except asyncio.TimeoutError:\n",
            ),
        ),
    ),
    "a pool left alone": (
        "exercise",
        ((WITH, "    pool = ThreadPoolExecutor(max_workers=1)\n    if True:\n"),),
    ),
    "one pool for all": (
        "exercise",
        (
            ("def ask_news", "pool = ThreadPoolExecutor(max_workers=2)\n\n\ndef ask_news"),
            (WITH, "    if True:\n"),
        ),
    ),
    "no search": (
        "solution",
        (("return session.post(", "return 'Nothing new.' or session.post("),),
    ),
    "too short": ("solution", (("timeout=1)", "timeout=0.02)"),)),
    "no kickoff": (
        "solution",
        (
            (
                "def run(inputs: dict) -> str:\n",
                "def run(inputs: dict) -> str:\n"
                "    return find_news(inputs['company']) + inputs['company']\n",
            ),
        ),
    ),
}
ADVICE = {
    "a limit for the agent": "what happens at the end of a",
    "a limit for the agent, too": "`max_execution_time` does not make the tool give up",
    "wait_for": "or of `asyncio.run`?",
    "a pool left alone": "keeps a thread and a connection for ever",
    "one pool for all": "was never sent",
    "no search": "the tool must try",
    "too short": "it cuts off what works",
    "no kickoff": "each request needs a kickoff of its own",
}


WAITS_FOR_EVER = {"a limit for the agent", "wait_for"}


@pytest.mark.parametrize(
    "answer", some(WRONG_ANSWERS, "a limit for the agent", "too short", "no search")
)
def test_a_plausible_wrong_answer_is_not_solved_and_gets_a_hint(
    apps: ChapterApps, answer: str, request: pytest.FixtureRequest
) -> None:
    if answer in WAITS_FOR_EVER:
        request.getfixturevalue("short_cut_off")
    tag, changes = WRONG_ANSWERS[answer]
    result = evaluate("08", apps.changed("briefing", tag, *changes))
    assert not result.solved, result
    assert ADVICE[answer].lower() in (result.hint or "").lower(), result


def test_the_check_leaves_the_services_as_they_were_at_the_start(
    apps: ChapterApps, services: Services
) -> None:
    evaluate("08", apps.save("briefing", "def run(inputs): return None"))
    assert not services.search.settings.hang
    assert services.search.stats().total == 0


def test_the_cut_off_leaves_the_solution_room_for_two_rounds_of_limits() -> None:
    rounds = -(-ch08.REQUESTS // ch08.THREADS)
    assert 3 * rounds <= ch08.CUT_OFF


def test_a_news_service_of_the_learners_own_cannot_be_silenced_and_the_check_says_so(
    apps: ChapterApps, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(services.environment, "SERPER_BASE_URL", "https://news.example.com")
    result = evaluate("08", apps.app("briefing", "solution"))
    assert not result.solved
    assert "unset SERPER_BASE_URL" in result.message
