"""Chapter 10: debug a deployment you have never seen."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from crewlab.app import App
from crewlab.exercises.types import CheckResult, LogLine, Option, Quiz

if TYPE_CHECKING:
    from crewlab.mysteries import Mystery
    from crewlab.results.run import Run

LONGEST = 30.0
"""Seconds a repaired service may take for the customers of one run."""

QUIZZES: dict[str, Quiz] = {
    "10-predict": Quiz(
        "The usual advice: try one replica, then 20 kickoffs in a loop, then read the start-up"
        " logs. Which of the three finds an agent that customers share?",
        (
            Option(
                "One replica: there it is small enough to be understood.",
                "With one request at a time nobody shares anything, so everything is right.",
            ),
            Option(
                "20 kickoffs: one of them will meet the fault.",
                "One after the other they never meet each other. 20 or 2000, all are right.",
            ),
            Option(
                "The logs: CrewAI warns of objects that are made at import.",
                "It does not. At start-up nothing is wrong yet.",
            ),
            Option(
                "None of them.",
                "It takes customers who are different, at the same time, and somebody who checks"
                " whom each answer is about.",
                right=True,
            ),
        ),
    ),
    "10-remember": Quiz(
        "All requests hang, no error, no processor time. What do you look at first?",
        (
            Option(
                "The log of the failing replica, with level DEBUG.",
                "Who waits writes nothing, at any level. The next line comes when the wait is"
                " over.",
            ),
            Option(
                "The memory of each replica.",
                "Worth a look, but waiting costs none. A leak ends in a kill, not in silence.",
            ),
            Option(
                "The stacks of the process: which line does each thread wait in?",
                "One dump names the line, and the line names the cause: CrewAI's event bus after"
                " a fork, or a call of your own without a limit.",
                right=True,
            ),
            Option(
                "Nothing: restart, and see whether it comes again.",
                "It does come again, and the process that knew why is gone. Dump first.",
            ),
        ),
    ),
}

LOGS: tuple[LogLine, ...] = (
    LogLine(
        "Right with one replica, right 20 times in a row, and wrong in production",
        "Neither test has two customers at the same time. Send different ones at once, and check"
        " whom each answer is about.",
    ),
    LogLine(
        "All errors come from one replica, and the others have none",
        "They run the same code, so look at what differs: the environment of that replica.",
    ),
    LogLine(
        "Requests without an answer, and no line in any log",
        "Dump the stacks of the process (faulthandler, py-spy): the line it waits in names the"
        " cause.",
    ),
    LogLine(
        "A second error that was not there before the repair",
        "Two causes: the first had kept requests from getting as far as the second.",
    ),
)

HINTS: tuple[str, ...] = (
    "Production has two replicas of four threads. Change one number at a time: what do"
    " `case.together(replicas=1, threads=8)` and `case.together(replicas=4, threads=1)` show?",
    "One replica of many threads fails: what do threads of a process share that this module makes"
    " at import? Many replicas of one thread fail: what do processes not share that this module"
    " writes in one request and reads in another?",
    'CAUSES = ["shared objects", "local disk"]. Make the writer inside `write_letter`, and keep'
    " notes with `boto3.client('s3')` in the bucket that the variable SHOP_BUCKET names.",
)


def check(app: App) -> CheckResult:
    """Judge a diagnosis and a repair.

    Args:
        app: a module with ``MYSTERY`` (a number), ``CAUSES`` (names) and the repaired ``run``.

    Returns:
        Solved if the causes are named, no more and no fewer, if all customers are answered under
        the mystery's own load, and if the evidence of none of its causes is seen any more.
    """
    from crewlab.mysteries import mystery
    from crewlab.mysteries.verdicts import compare, unusable

    number, named = _constant(app, "MYSTERY"), _constant(app, "CAUSES")
    problem = _unusable_number(number)
    if problem:
        return CheckResult(False, problem)
    if not isinstance(named, list | tuple) or not all(isinstance(name, str) for name in named):
        return CheckResult(False, 'CAUSES is no list of names, such as CAUSES = ["leak"].')
    if not named:
        return CheckResult(
            False,
            "the module names no cause yet.",
            (unusable(named) or "",),
            "Gather evidence with `.alone()`, `.together()` and the other tools first.",
        )
    if problem := unusable(named):
        return CheckResult(False, problem)
    original = mystery(number)
    said = compare(original, named)
    if not said.right:
        return CheckResult(False, f"{said.headline[0].lower()}{said.headline[1:]}", said.lines)
    repaired = original.with_app(app)
    return _not_repaired(repaired) or CheckResult(
        True, "named right, and repaired: its evidence is gone.", said.lines
    )


def _constant(app: App, name: str) -> Any:
    """Read a constant of the module without running it."""
    for node in ast.parse(app.source).body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == name for target in node.targets
        ):
            try:
                return ast.literal_eval(node.value)
            except ValueError:
                return None
    return None


def _unusable_number(number: object) -> str | None:
    from crewlab.mysteries import NUMBERS

    if isinstance(number, int) and not isinstance(number, bool) and number in NUMBERS:
        return None
    return f"MYSTERY must be a number from {NUMBERS[0]} to {NUMBERS[-1]}: which one is this?"


def _not_repaired(repaired: Mystery) -> CheckResult | None:
    """Say what is still wrong with a service whose causes were named right."""
    from crewlab.mysteries.causes import CAUSES

    run = repaired.together(cut_off=LONGEST)
    if run.lost == len(run.requests):
        return CheckResult(False, f"named right, but the app does not start: {run.first_error}.")
    calls, stored = repaired.partners().model.total, repaired.stored()
    causes = repaired.case.causes
    is_serial = False
    for cause in (CAUSES[name] for name in causes):
        if cause.shows(repaired):
            return CheckResult(
                False,
                f"named right, and not repaired: {cause.name} still shows.",
                (f"Evidence: {cause.evidence}.",),
                f"Chapter {cause.chapter} has the repair.",
            )
        if cause.name == "shared objects":
            is_serial = repaired.partners().model.peak_in_flight < 2
    if run.ok < len(run.requests):
        return _unanswered(run)
    if calls < repaired.production.customers:
        return CheckResult(
            False,
            "the answers are right, but not every customer's came from the model.",
            hint="Let the crew do the work: each customer needs a kickoff.",
        )
    if is_serial:
        return CheckResult(
            False,
            "every answer is right, but the customers wait for one another.",
            hint="A lock lets one kickoff at a time into each replica. Take away what it protects.",
        )
    notes = [record.inputs["note"] for record in run.requests if "note" in record.inputs]
    if "local disk" in causes and not all(any(n in text for text in stored) for n in notes):
        return CheckResult(
            False,
            "every answer is right here, but not by way of the bucket that SHOP_BUCKET names.",
            hint="All replicas run on one machine here, so an absolute path is one folder for all."
            " In a cluster it is not.",
        )
    return None


def _unanswered(run: Run) -> CheckResult:
    if run.wrong:
        return CheckResult(False, "named right, but customers are answered wrongly now.")
    seen = run.first_error or "no answer in time"
    return CheckResult(False, f"named right, but not every customer is answered: {seen}.")
