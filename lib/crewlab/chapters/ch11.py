"""Chapter 11: prevent it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from crewlab.app import App
from crewlab.exercises.types import CheckResult, LogLine, Option, Quiz

if TYPE_CHECKING:
    from crewlab.results.run import Run
    from crewlab.services import Services

MODEL_KEY, BUCKET, SECONDS = NAMES = ("OPENAI_API_KEY", "REPORTS_BUCKET", "MODEL_SECONDS")
REPLICAS, THREADS, REQUESTS = 2, 3, 6
LATENCY = 1.0  # s; kickoffs that share something meet on a busy machine too
PATIENCE = 10.0
"""Seconds that a kickoff may take when each call of the model may take one."""

QUIZZES: dict[str, Quiz] = {
    "11-predict": Quiz(
        'A colleague tidies `reports.py` up and drops `IfNoneMatch="*"`. The review passes, the'
        " service starts, a test order gets its report. Who notices?",
        (
            Option(
                "The linter or the type checker.",
                "The call is as valid without the argument as with it.",
            ),
            Option(
                "The load test with distinct customers.",
                "Each customer has a key of their own there. The argument matters when one key is"
                " written twice.",
            ),
            Option(
                "A customer whose order is delivered twice; unless a test writes one key twice.",
                "Nothing else looks at it. A protection is only as good as the test that fails"
                " without it.",
                right=True,
            ),
            Option(
                "The readiness probe: it stays red.",
                "It asks whether the bucket is there. It is.",
            ),
        ),
    ),
    "11-remember": Quiz(
        'You add a line to your checklist: "at most 20 MB of attachments". When is it done?',
        (
            Option(
                "When the limit is in the code and the line is in the README.",
                "That is a wish. The next tidy-up may take it away, and nothing turns red.",
            ),
            Option(
                "When a test passes that sends a small attachment.",
                "It passes without the limit too. It proves nothing about it.",
            ),
            Option(
                "When a test sends 21 MB, and you saw it fail with the limit taken out.",
                "A test proves a line if it fails without that line. You know that only after you"
                " have seen it.",
                right=True,
            ),
        ),
    ),
}

LOGS: tuple[LogLine, ...] = (
    LogLine(
        "The service cannot start. Set these variables:",
        "The take-home service at work: it names what its environment lacks, all of it, and ends.",
    ),
    LogLine(
        "Child process died",
        "uvicorn starts a worker again that ended at import, for ever. Check the environment in"
        " the parent, before uvicorn.run.",
    ),
    LogLine(
        "HTTP 503: every place is taken; come back later",
        "Back-pressure at work: wait for the seconds in Retry-After, and ask with the same key.",
    ),
    LogLine(
        "HTTP 504: not done in time; ask again with the same key",
        "The customer's time was up, the work goes on and is kept: the same key finds it.",
    ),
)

HINTS: tuple[str, ...] = (
    "Four lines of the checklist are missing: 1, 2, 8 and 10. `part(...)` shows how the template"
    " does each of them. Begin with a settings class whose three fields have no default.",
    "Build the agent, the task and the crew in a function. Give `LLM` its `timeout`, and count the"
    " retries once: `max_retries` of the LLM, `max_retry_limit=0` of the agent.",
    "In `run()`, look for the report of this key first: `s3.get_object(...)`, where the exception"
    " `s3.exceptions.NoSuchKey` means that there is none. Only then kick off, and keep the text"
    ' with `IfNoneMatch="*"`.',
)


def check(app: App) -> CheckResult:
    """Deploy the learner's service without a variable, under load, again, and on a dead model.

    Args:
        app: the learner's.

    Returns:
        Solved if it refuses to start without its variables, answers customers at once, kicks off
        once for each key, and gives a model up that does not answer.
    """
    from crewlab import services

    local = services.current()
    if local is None:
        return CheckResult(
            False, "this check needs the local services. Restart the kernel and run all cells."
        )
    complete = {BUCKET: local.storage.new_bucket(), SECONDS: "30"}
    problem = _refuses(app, complete)
    if problem:
        return problem
    with local.model.temporarily(latency=LATENCY):
        problem = _answers(app, complete, local)
    if problem is None and local.model_is_local:
        with local.counted_anew(), local.model.temporarily(hang=range(1, 101)):
            problem = _gives_up(app, complete, local)
    return problem or CheckResult(
        True,
        "it holds.",
        (
            "Without a variable, or with an empty one, it does not start, and says which.",
            f"{REQUESTS} customers at once: every one is answered right.",
            "The same key again, on new replicas: the same report, and no kickoff.",
            "A model that does not answer: the customer hears of it in time.",
        ),
    )


def _refuses(app: App, complete: Mapping[str, str]) -> CheckResult | None:
    """Start it without each variable, and with all of them empty."""
    from crewlab.deployment import scale

    lacking: list[dict[str, str | None]] = [{**complete, name: None} for name in NAMES]
    empty: dict[str, str | None] = {**complete, **dict.fromkeys(NAMES, "")}
    environments = [*lacking, empty]
    run = scale(app, replicas=len(environments), threads=1, requests=1, env=environments)
    wrong = [*(f"without {name}" for name in NAMES), "with all three variables empty"]
    for what, replica in zip(wrong, run.replicas, strict=True):
        if replica.ready_after is not None:
            return CheckResult(
                False,
                f"the service starts {what}.",
                ("Line 2: the environment is checked whole, and empty counts as missing.",),
                "An empty value passes `os.environ[...]`: `env_ignore_empty=True` counts it as"
                " missing."
                if what == wrong[-1]
                else "Read the variables when the module is imported, without a default for any.",
            )
    for name, replica in zip(NAMES, run.replicas, strict=False):
        # The source lines of a traceback name variables by chance.
        printed = replica.log.partition("Traceback (most recent call last)")[0]
        if name not in f"{replica.error}\n{printed}".upper():
            return CheckResult(
                False,
                f"without {name} it does not start, and does not say why.",
                (f"Line 2: the message names what is missing. Seen: {replica.error or 'nothing'}",),
                "Let a settings class read the three variables: its error names them.",
            )
    return None


def _answers(app: App, complete: Mapping[str, str], local: Services) -> CheckResult | None:
    """Send customers at once, then some of their keys again, to new replicas."""
    from crewlab.companies import COMPANIES
    from crewlab.deployment import scale

    customers = [{"company": COMPANIES[n], "key": f"order-{n}"} for n in range(REQUESTS)]
    local.model.reset()
    run = scale(app, replicas=REPLICAS, threads=THREADS, requests=customers, env=complete)
    problem = _are_right(run)
    if problem:
        return problem
    stats = local.model.stats()
    if local.model_is_local and stats.total < REQUESTS:
        return CheckResult(
            False,
            "the answers are right, but not every customer's came from the model.",
            hint="Let the crew do the work: each new key needs a kickoff of its own.",
        )
    if local.model_is_local and stats.peak_in_flight <= REPLICAS:
        return CheckResult(
            False,
            "every answer is right, but the customers wait for one another.",
            ("No replica had two requests at the model at the same time.",),
            "A lock lets one kickoff at a time into each replica. With a crew for each job there"
            " is nothing to lock.",
        )
    known = customers[: REQUESTS // 2]
    new = {"company": customers[-1]["company"], "key": "order-new"}
    local.model.reset()
    again = scale(app, replicas=REPLICAS, threads=THREADS, requests=[*known, new], env=complete)
    problem = _are_right(again)
    if problem:
        return problem
    first = {str(record.inputs["key"]): record.answer for record in run.requests}
    if any(record.answer != first[record.inputs["key"]] for record in again.requests[:-1]):
        return CheckResult(
            False,
            "the same key is given another report the second time.",
            hint="Give the text that is kept, as it is.",
        )
    return _kicked_off_once(local.model.stats().total) if local.model_is_local else None


def _kicked_off_once(calls: int) -> CheckResult | None:
    if calls > 1:
        return CheckResult(
            False,
            "the same key, sent again, costs another kickoff.",
            ("Line 10. The second time came after a roll-out: new replicas, the same bucket.",),
            "Look into the bucket before you kick off. A dictionary in memory ends with its"
            " replica.",
        )
    if calls == 0:
        return CheckResult(
            False,
            "a new key is given the report of an older one about the same company.",
            ("Line 10: the same key is the same job, and another key is another job.",),
            "Find reports by the customer's key, not by the company.",
        )
    return None


def _are_right(run: Run) -> CheckResult | None:
    load = (
        f"Load: {len(run.requests)} customers at once on {REPLICAS} replicas of {THREADS} threads."
    )
    if run.lost == len(run.requests):
        return CheckResult(
            False,
            f"with all three variables set, the service does not start: {run.first_error}.",
            hint="It must refuse an incomplete environment only.",
        )
    if any("Executor is already running" in text for text in run.errors):
        return CheckResult(
            False,
            "customers at once still meet in the same objects.",
            (load, "CrewAI says: Executor is already running."),
            "Line 1: the agent, its model, the task and the crew are made for each job.",
        )
    if run.wrong:
        return CheckResult(
            False,
            "a customer is answered about somebody else.",
            (load,),
            "Line 1: nothing that a kickoff writes to may be shared.",
        )
    if run.ok < len(run.requests):
        return CheckResult(False, f"not every customer is answered: {run.first_error}.", (load,))
    return None


def _gives_up(app: App, complete: Mapping[str, str], local: Services) -> CheckResult | None:
    """While no call is answered, look whether the customer hears of it."""
    from crewlab.deployment import scale

    run = scale(
        app,
        replicas=1,
        threads=1,
        requests=[{"company": "Westerling", "key": "order-on-a-dead-model"}],
        env={**complete, SECONDS: "1"},
        timeout=PATIENCE,
    )
    load = f"Load: one customer, {SECONDS}=1, and a model that takes calls and never answers."
    if run.ok or run.wrong:
        return CheckResult(
            False,
            "the model does not answer, and the customer is given a report all the same.",
            (load,),
            "Let the error out. A made-up report that is kept is a wrong answer for good.",
        )
    if run.error and local.model.stats().total:
        return None
    if run.error:
        return CheckResult(False, f"the model is not even asked: {run.first_error}.", (load,))
    return CheckResult(
        False,
        f"after {PATIENCE:g} s the customer still waits for a model that does not answer.",
        (load, "Line 8: each call has a time limit, and retries are counted in one layer."),
        "Each call is given up in time, and then tried again: the LLM's `max_retries` times the"
        " agent's `max_retry_limit`. Count retries in one of them."
        if local.model.stats().total > 1
        else "Give the model's client its limit: `LLM(..., timeout=...)`.",
    )
