"""Chapter 08: make time limits limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crewlab.app import App
from crewlab.exercises.types import CheckResult, LogLine, Option, Quiz

if TYPE_CHECKING:
    from crewlab.results.run import Run
    from crewlab.services import Services

THREADS, REQUESTS = 2, 4
CUT_OFF = 6.5
"""Seconds; where each search gives up after one, all customers are answered in about three."""
HEALTHY_LATENCY = 0.2
"""Seconds that a healthy news service takes: a limit below it cuts off every search."""
MANY = range(1, 1000)
LOAD = f"Load: {REQUESTS} customers on a replica of {THREADS} threads; the news service is silent."

QUIZZES: dict[str, Quiz] = {
    "08-predict": Quiz(
        "`max_execution_time=2`, and the tool takes four seconds. What does the customer get?",
        (
            Option(
                "A `TimeoutError` after two seconds.",
                "The error is raised after two seconds, and then waits for the tool's thread to"
                " end before it gets to you.",
            ),
            Option(
                "A report without news after two seconds.",
                "The agent never learns of the limit; nobody tells it to go on without the tool.",
            ),
            Option(
                "The report, after a little more than four seconds.",
                "The report is written by then, but it is late, so CrewAI throws it away.",
            ),
            Option(
                "A `TimeoutError`, after a little more than four seconds.",
                "You wait for the tool, and for the report that is written after it, and then get"
                " the error that was due two seconds earlier.",
                right=True,
            ),
        ),
    ),
    "08-remember": Quiz(
        "A tool never returns. What gives its worker back to the next customer?",
        (
            Option(
                "`Agent(max_execution_time=60)`",
                "It waits for the thread the tool is in, so it does not return either.",
            ),
            Option(
                "`asyncio.wait_for(crew.akickoff(...), 60)`",
                "The answer comes in time, but the tool keeps its thread of asyncio's pool. A few"
                " more of them, and no kickoff gets a thread.",
            ),
            Option(
                "A timeout inside the tool; where there can be none, the end of its process.",
                "The call that waits has to give up itself. If it cannot, only the operating"
                " system can take its thread away, with the whole process.",
                right=True,
            ),
            Option(
                "A second try: most such calls work the next time.",
                "The second try is never made: the first has not failed, it is still waiting.",
            ),
        ),
    ),
}

LOGS: tuple[LogLine, ...] = (
    LogLine(
        "TimeoutError: Task '...' execution timed out after 2 seconds",
        "max_execution_time is reported once the work has ended by itself, however long that "
        "takes. Put a limit into the tool and into the model's client.",
    ),
    LogLine(
        "InternalServerError: Error code: 500, nine times for one customer",
        "The client's three attempts times the agent's three. Count retries in one layer: "
        "LLM(max_retries=...), Agent(max_retry_limit=0).",
    ),
    LogLine(
        "RateLimitError: Error code: 429, twenty-seven times for one customer",
        "Three layers retry a 429: the client, crewai/llms/retry.py and the agent. Count retries"
        " in one layer, and bound your concurrency.",
    ),
    LogLine(
        "RuntimeError: Agent execution was invoked synchronously from within a running event loop",
        "kickoff() was called inside async def. Use akickoff(), or a thread of an executor that "
        "is large enough.",
    ),
    LogLine(
        "No error and no answer, and later requests make no call at all",
        "Tools that never return hold every thread of the pool. Nobody can stop a thread: give "
        "the tool a limit of its own.",
    ),
    LogLine(
        "A pause of a minute after the first few requests",
        "max_rpm sleeps with its lock held. Limit in the client, or at the provider.",
    ),
)

HINTS: tuple[str, ...] = (
    "`news.result(timeout=1)` gives up in time. What runs between that line and the tool's answer?",
    "Leaving `with ThreadPoolExecutor() as pool` waits for every thread of the pool, the silent"
    " search included. Without the `with`, the search still waits, only out of sight.",
    "Nobody can stop a thread, so the search itself must give up: `session.post(..., timeout=1)`."
    " Catch `requests.Timeout` and answer without news; the pool is not needed any more.",
)


def check(app: App) -> CheckResult:
    """Deploy the learner's app with a news service that is silent, then with one that answers.

    Args:
        app: the learner's.

    Returns:
        Solved if every customer is answered both times, no search is left waiting, and a healthy
        search is waited for.
    """
    from crewlab import services
    from crewlab.deployment import scale

    local = services.current()
    if local is None:
        return CheckResult(False, "the local services do not run: run the first cell again.")
    if f":{local.ports['search']}" not in local.environment["SERPER_BASE_URL"]:
        return CheckResult(
            False,
            "the check needs the local news service, which can be silent on demand: unset"
            " SERPER_BASE_URL and SERPER_API_KEY, then restart the kernel.",
        )
    with local.model.temporarily():
        with local.counted_anew(), local.search.temporarily(hang=MANY):
            silent = scale(app, replicas=1, threads=THREADS, requests=REQUESTS, timeout=CUT_OFF)
            verdict = _judge_silence(silent, local)
        if verdict is not None:
            return verdict
        with local.counted_anew(), local.search.temporarily(latency=HEALTHY_LATENCY):
            healthy = scale(app, replicas=1, threads=THREADS, requests=THREADS)
            return _judge_health(healthy, local)


def _judge_silence(run: Run, local: Services) -> CheckResult | None:
    """Say what is wrong while the news service is silent; None if nothing is."""
    search, model = local.search.stats(), local.model.stats()
    if run.lost == REQUESTS:
        return CheckResult(False, f"the app does not start: {run.first_error}.")
    if any("execution timed out after" in text for text in run.errors):
        return CheckResult(
            False,
            "the limit of the agent takes the customer's answer away.",
            (LOAD,),
            "`max_execution_time` does not make the tool give up. Let the search do that itself.",
        )
    if run.timeout:
        return CheckResult(
            False,
            "customers wait for the silent news service.",
            (LOAD, f"After {CUT_OFF:g} s not every customer had an answer."),
            "Something waits for the search although its time is up. What happens at the end of a"
            " `with` block, or of `asyncio.run`?",
        )
    if run.wrong:
        return CheckResult(False, "customers are answered about somebody else.", (LOAD,))
    if run.ok < REQUESTS:
        return CheckResult(False, f"not every customer is answered: {run.first_error}.", (LOAD,))
    if local.model_is_local and model.total < REQUESTS:
        return CheckResult(
            False,
            "the answers come in time, but not every one from the model.",
            (LOAD,),
            "Let the crew do the work: each request needs a kickoff of its own.",
        )
    if search.total < REQUESTS:
        return CheckResult(
            False,
            "the answers come in time, but not every kickoff asked for news.",
            (LOAD,),
            "The tool must try: news are what the customers pay for. A search that waits for a"
            " free thread behind silent ones was never sent.",
        )
    if search.peak_in_flight >= REQUESTS:
        return CheckResult(
            False,
            "the answers come in time, and every search is still waiting behind them.",
            (LOAD, "All searches were open at the same time, more than the replica has threads."),
            "Each silent search keeps a thread and a connection for ever. Make the search itself"
            " give up, not only the one who waits for it.",
        )
    return None


def _judge_health(run: Run, local: Services) -> CheckResult:
    if run.ok < THREADS:
        return CheckResult(
            False,
            f"with a healthy news service not every customer is answered: {run.first_error}.",
        )
    if not local.search.stats().by_status.get(200):
        return CheckResult(
            False,
            "no customer gets news any more, not even from a healthy news service.",
            (f"A healthy search takes {HEALTHY_LATENCY:g} s here.",),
            "The limit is so short that it cuts off what works. One second will do.",
        )
    return CheckResult(
        True,
        "every customer is answered, and no search is left waiting.",
        (LOAD, "With a healthy news service the news arrive."),
    )
