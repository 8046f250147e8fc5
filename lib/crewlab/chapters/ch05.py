"""Chapter 05: bound your concurrency."""

from __future__ import annotations

from collections import Counter

from crewlab.app import App
from crewlab.exercises.types import CheckResult, LogLine, Option, Quiz
from crewlab.results.demand import Demand

FEW_REPLICAS, MANY_REPLICAS = 2, 8
CALLS = 6
"""Requests that the exercise's tool sends for a customer."""

QUIZZES: dict[str, Quiz] = {
    "05-predict": Quiz(
        "One replica answers its customer. Eight replicas have a customer each. What happens?",
        (
            Option(
                "Eight answers, in the time of one: each replica has threads of its own.",
                "Each has its own threads, and all of them share the model's eight places: 48"
                " requests want in at once.",
            ),
            Option(
                "Eight answers, later: whoever is refused tries again.",
                "Three tries without a pause are over before a place is free.",
            ),
            Option(
                "Most customers fail, more of them than with two replicas.",
                "A customer needs all six reviews. The eight places are spread over 48 requests,"
                " so hardly anybody gets six, and the retries refuse each other.",
                right=True,
            ),
            Option(
                "One replica fails, the one that comes last.",
                "Nobody is last: the requests of all replicas arrive mixed.",
            ),
        ),
    ),
    "05-remember": Quiz(
        "A pool of 8 threads in each replica, a quota of 8. The autoscaler goes from 1 to 4. And?",
        (
            Option(
                "All is well: no pool is wider than the quota.",
                "Each pool knows its own process only: 4 times 8 makes 32 requests at once.",
            ),
            Option(
                "32 requests at once: the limit of a process grows with the replicas.",
                "Divide the quota by the largest number of replicas, or share the limit.",
                right=True,
            ),
            Option(
                "All is well if `max_retries` is high enough.",
                "Retries repeat what was refused. The demand stays four times the quota.",
            ),
        ),
    ),
}

LOGS: tuple[LogLine, ...] = (
    LogLine(
        "Error code: 429 - Rate limit reached",
        "All replicas together ask more of the model than its quota. Bound what each process has"
        " in flight, and retry in one layer, as long as Retry-After says.",
    ),
    LogLine(
        "ToolExecutionFailedError: Tool 'rate_reviews' failed during",
        "A tool raised, and the crew has tool_failure_policy='raise'. Without it the answer would"
        " have been written from the text of the error.",
    ),
    LogLine(
        "RuntimeError: can't start new thread",
        "Pools without a bound have used up the replica's threads. Make one small pool a process.",
    ),
    LogLine(
        "DatabaseOperationError: Error saving task outputs: unable to open database file",
        "If the disk is fine: too many connections at once have taken all file descriptors, and"
        " CrewAI's SQLite is the next to want one. Bound the pool.",
    ),
    LogLine(
        "OOMKilled when many requests wait for the model",
        "Each waiting thread holds what it works on. Bound the pool, then choose the limit.",
    ),
)

HINTS: tuple[str, ...] = (
    "Which line sends several requests at the same time, and who says how many?",
    "`batch` runs the prompts on threads, all at once. Its `config` takes a `max_concurrency`; "
    "the right number depends on `MODEL_QUOTA` and `REPLICAS`, both in `os.environ`.",
    '`chat.batch(prompts, config={"max_concurrency": max(1, quota // replicas)})`. Retry in one '
    "layer that waits as the server says: `max_retries=6` of `ChatOpenAI` does, `with_retry` does "
    "not.",
)


def check(app: App) -> CheckResult:
    """Deploy the learner's app on two and on eight replicas against a quota.

    Args:
        app: the learner's.

    Returns:
        Solved if all customers are served by the model, which refuses hardly any request, and its
        places are used where there are several for a replica.
    """
    from crewlab.overload import demand

    many = demand(app, replicas=MANY_REPLICAS)
    problem = _problem(many)
    if problem is not None and not many.is_overloaded:
        return problem
    few = demand(app, replicas=FEW_REPLICAS)
    problem_of_few = _problem(few)
    if problem is not None and problem_of_few is None:
        hint = (
            f"The number that is right for {FEW_REPLICAS} replicas is too high for"
            f" {MANY_REPLICAS}: compute it from `MODEL_QUOTA` and `REPLICAS`."
        )
        return CheckResult(False, problem.message, problem.details, hint)
    problem = problem or problem_of_few
    if problem is not None:
        return problem
    if _most_in_flight(few) <= FEW_REPLICAS:
        return CheckResult(
            False,
            "nobody is refused, and the quota stays unused.",
            (f"{_load(few)}, and never more than one request of each in flight.",),
            "One request at a time is a bound too, and a slow one: take all of your share, which"
            " is the quota divided by the replicas.",
        )
    return CheckResult(
        True,
        "every customer is answered, and the model refuses hardly any request.",
        (f"{_load(many)}.", f"{_load(few)}."),
    )


def _problem(seen: Demand) -> CheckResult | None:
    """Say what is wrong with a run, if anything."""
    run, load = seen.run, f"{_load(seen)}."
    if run.lost == len(run.requests):
        return CheckResult(False, f"the app does not start: {run.first_error}.")
    if any("429" in text for text in run.errors):
        return CheckResult(
            False,
            "the model refuses requests, and customers go without an answer.",
            (load, "The model says: Rate limit reached."),
            "All requests of a `batch` leave at once. How many may one replica have in flight?",
        )
    if seen.is_overloaded:
        return CheckResult(
            False,
            "no customer sees a refusal, and the model refuses many requests on the way.",
            (load,),
            "Patience hides the overload, it does not end it: bound what is in flight.",
        )
    if run.ok < len(run.requests):
        what = run.first_error or "answers that do not name the customer"
        return CheckResult(False, f"not every customer is answered: {what}.", (load,))
    served = Counter(name for call in seen.calls if call.status == 200 for name in set(call.names))
    if any(served[request.inputs["company"]] < CALLS + 1 for request in run.requests):
        return CheckResult(
            False,
            "every customer has an answer, and not all of the work behind it was done.",
            (load, f"A customer takes {CALLS} translations by the model and a turn of the agent."),
            "Send every prompt to the model, in a kickoff, and leave none out that fails.",
        )
    return None


def _most_in_flight(seen: Demand) -> int:
    """Give the most requests the model worked on at once."""
    edges = sorted(
        edge
        for call in seen.calls
        if call.status == 200
        for edge in ((call.started, 1), (call.finished, -1))
    )
    level = most = 0
    for _, step in edges:
        level += step
        most = max(most, level)
    return most


def _load(seen: Demand) -> str:
    replicas = len(seen.run.replicas)
    return f"{replicas} replicas with a customer each, a quota of {seen.quota} requests in flight"
