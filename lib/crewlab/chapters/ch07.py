"""Chapter 07: find the leak before the OOM killer does."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from crewlab.app import App
from crewlab.exercises.types import CheckResult, LogLine, Option, Quiz
from crewlab.results.growth import growth
from crewlab.results.run import Run

THREADS, REQUESTS = 2, 24

CENSUS = """

# What the check adds: it collects the garbage after each request and counts what is left.
import gc as _gc

_answer = run


def run(inputs):
    answer = _answer(inputs)
    from crewai import Agent, BaseLLM, Crew, Task

    _gc.collect()
    kinds = (Agent, BaseLLM, Crew, Task)
    alive = sum(issubclass(type(thing), kinds) for thing in _gc.get_objects())
    print(f"alive: {alive};", flush=True)
    return answer
"""

QUIZZES: dict[str, Quiz] = {
    "07-predict": Quiz(
        "A replica answers four requests right. Four hundred later, how much memory does it hold?",
        (
            Option(
                "As much as after four: what a request made is garbage once it is answered.",
                "So it should be. It is garbage only if nothing refers to it any more.",
            ),
            Option(
                "It goes up and down: it falls whenever Python collects garbage.",
                "The collector takes what nothing refers to. Here something does, in CrewAI.",
            ),
            Option(
                "A hundred times as much on top: every request leaves its crew behind.",
                "A cache of CrewAI keeps what `@agent` and `@task` methods return, and it is never"
                " emptied. The crew, the instance and its purchases hang on it.",
                right=True,
            ),
        ),
    ),
    "07-remember": Quiz(
        "A colleague calls `gc.collect()` after each request of the `@CrewBase` app. And now?",
        (
            Option(
                "Memory levels off.",
                "The collector frees what nothing refers to. The cache still refers to all of it.",
            ),
            Option(
                "Memory grows as before, and each request is slower.",
                "What is reachable is no garbage, however often you collect. The slope stays.",
                right=True,
            ),
            Option(
                "Memory grows at half the slope: only the agents stay.",
                "The agent refers to its crew, and the crew to the instance. All of it stays.",
            ),
        ),
    ),
}

LOGS: tuple[LogLine, ...] = (
    LogLine(
        "OOMKilled, exit code 137",
        "The replica went above its memory limit. Plot memory over requests: a level means the "
        "limit is too low, a slope means a leak.",
    ),
    LogLine(
        "Memory and open files that grow with each request",
        "A @CrewBase class made for each request is kept for ever, with all that hangs on it. "
        "Use a plain factory.",
    ),
    LogLine(
        "Threads that grow with each request",
        "max_rpm starts timers that nobody stops. Limit in the client, or at the provider.",
    ),
    LogLine(
        "killed: not ready after",
        "Many replicas import CrewAI on few cores and miss the start-up probe. Give the probe "
        "time, or start fewer at once.",
    ),
    LogLine(
        "ended at start-up with exit code 137",
        "The limit is below what importing CrewAI needs.",
    ),
)

HINTS: tuple[str, ...] = (
    "Look for what lives as long as the process. What does each request give to it?",
    "`crewai_event_bus` is one object for the process, and `@crewai_event_bus.on(...)` inside "
    "`run()` gives it one more handler with each request. A handler refers to all that it uses.",
    "Register no handler for a request. The kickoff's result counts the model calls itself: "
    "`result.token_usage.successful_requests`.",
)


def check(app: App) -> CheckResult:
    """Load one replica of the learner's app and see whether it keeps what it has answered.

    Args:
        app: the learner's.

    Returns:
        Solved if everybody is answered by the model and billed, and nothing stays alive.
    """
    from crewlab import services

    local = services.current()
    if local is not None:
        local.model.reset()
    run = _deploy(app)
    load = f"Load: {REQUESTS} customers on one replica of {THREADS} threads."
    failed = _not_answered(run)
    if failed is not None:
        return failed
    if local is not None and local.model_is_local and local.model.stats().total < REQUESTS:
        return CheckResult(
            False,
            "the answers are right, but not every customer's came from the model.",
            (load,),
            "Let the crew do the work: each request needs a kickoff of its own.",
        )
    kept = _what_is_kept(app, run)
    if kept is not None:
        message, hint = kept
        return CheckResult(False, message, (load,), hint)
    # Two threads print: a line may start where another has not ended yet.
    bills = re.findall(r"bill (\S+): (\d+) calls", run.replicas[0].log)
    if sorted(bills) != sorted((record.inputs["company"], "1") for record in run.requests):
        return CheckResult(
            False,
            "nothing is kept any more, but the bills are no longer right.",
            (load, "Each customer must be billed once, for one call."),
            "Keep the line that prints the bill. Who else knows how many calls a kickoff made?",
        )
    return CheckResult(
        True, "every customer is answered and billed, and nothing of them stays.", (load,)
    )


def _deploy(app: App) -> Run:
    """Run the app with a census added at its end, from a folder of its own."""
    from crewlab.deployment import scale

    with tempfile.TemporaryDirectory(prefix="crewlab-check-") as folder:
        path = Path(folder) / f"{app.name}.py"
        path.write_text(app.source + CENSUS, encoding="utf-8")
        return scale(App(app.name, path), replicas=1, threads=THREADS, requests=REQUESTS)


def _not_answered(run: Run) -> CheckResult | None:
    if run.lost == REQUESTS and run.replicas[0].error:
        return CheckResult(False, f"the app does not start: {run.first_error}.")
    if run.lost:
        return CheckResult(
            False,
            "the replica ended, and requests were lost with it.",
            (f"Exit code {run.replicas[0].exit_code}.",),
            "A worker that ends itself loses what it works on. Find what keeps the requests.",
        )
    if run.wrong:
        return CheckResult(
            False,
            "customers are answered about somebody else.",
            (),
            "Each request needs a crew of its own, made in a function.",
        )
    if run.ok < REQUESTS:
        return CheckResult(False, f"not every customer is answered: {run.first_error}.")
    return None


def _what_is_kept(app: App, run: Run) -> tuple[str, str] | None:
    """Say what of finished requests the replica keeps, with a hint; None if it keeps nothing."""
    [life] = growth(run).lives
    counts = [int(count) for count in re.findall(r"alive: (\d+);", run.replicas[0].log)]
    is_data_kept = (life.a_request_adds("memory") or 0) >= MEMORY
    are_objects_kept = len(counts) > 4 and counts[-1] - counts[3] >= REQUESTS // 2
    if not is_data_kept and not are_objects_kept:
        return None
    if "crewai_event_bus.off(" in app.source:
        hint = (
            "The bus remembers the last 256 handlers it has looked at, those taken off too."
            " Do not register one for each request."
        )
    elif is_data_kept and not are_objects_kept:
        hint = "The crews are gone. Where are the purchases of finished requests still referred to?"
    elif "gc.collect(" in app.source:
        hint = "The collector frees what nothing refers to. Find what still refers to it."
    else:
        hint = "What lives as long as the process, and is given something by each request?"
    if is_data_kept:
        return "memory still grows with each request.", hint
    return "memory hardly grows, but agents, tasks or LLMs of each request stay alive.", hint


MEMORY = 3.0
"""MiB a request, from which on data is kept; one customer's purchases take more than twice."""
