"""Chapter 04: send plain data."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from crewlab.app import App
from crewlab.exercises.types import CheckResult, LogLine, Option, Quiz
from crewlab.exercises.witness import was_seen, with_witness
from crewlab.results.run import Run
from crewlab.services import Services

REPLICAS, THREADS, REQUESTS = 2, 4, 8
LOAD = f"Load: {REQUESTS} customers at once on {REPLICAS} replicas of {THREADS} threads."
PATIENCE = 20.0
"""Seconds until a customer whom the model refuses is taken to wait for ever."""

QUIZZES: dict[str, Quiz] = {
    "04-predict": Quiz(
        "With `JOB_PROCESSES=1`, what do the customers get?",
        (
            Option(
                "Right answers: each request has a crew of its own.",
                "That keeps threads apart. But the crew is built in one process and used in"
                " another, and has to get there first.",
            ),
            Option(
                "Right answers at one replica, errors at several.",
                "Replicas know nothing of each other. The border is between a replica and its own"
                " job process, and one replica has that border too.",
            ),
            Option(
                "An error for every customer, whatever the number of replicas.",
                "The pool must pickle what it sends. The crew and the session hold locks and open"
                " sockets, which cannot be pickled.",
                right=True,
            ),
            Option(
                "Some answers about other customers.",
                "Nothing is shared, so nobody is mixed up. The job never even starts.",
            ),
        ),
    ),
    "04-remember": Quiz(
        "Which of these jobs crosses safely, also when the model refuses?",
        (
            Option(
                "`pool.submit(crew.kickoff, {'company': name})`",
                "The dict is plain, but `crew.kickoff` is a bound method: it carries the crew.",
            ),
            Option(
                "`pool.submit(lambda: write_report(name))`",
                "A `lambda` has no name to be found by, so it cannot be pickled.",
            ),
            Option(
                "`pool.submit(write_report, name)`, which raises what the kickoff raises",
                "In it goes. But an `openai.RateLimitError` cannot be put together again on its way"
                " back, and the pool breaks for everybody.",
            ),
            Option(
                "`pool.submit(work, job.model_dump_json())`, which returns JSON for answer and"
                " error",
                "Text in, text out, and a function that is found by its name.",
                right=True,
            ),
        ),
    ),
}

LOGS: tuple[LogLine, ...] = (
    LogLine(
        "TypeError: cannot pickle '_thread.RLock' object",
        "A crew, an agent, a model or an open session was sent to another process. Send plain "
        "data, and build the objects there.",
    ),
    LogLine(
        "BrokenProcessPool: A process in the process pool was terminated abruptly while the "
        "future was running or pending.",
        "Perhaps no process ended: an exception came back that cannot be unpickled, such as "
        "openai's. Catch it in the worker and send its text.",
    ),
    LogLine(
        "No answer, and a silent log, from a pool of processes",
        "multiprocessing.Pool met an answer that cannot be unpickled and lost its reader. Send "
        "plain data back, and wait with a time limit.",
    ),
    LogLine(
        "ValueError: Error interpolating description: Invalid value for key 'db': Unsupported "
        "type Connection in inputs",
        "kickoff takes plain data only, with one worker too. Pass an id, and open the connection"
        " where it is used.",
    ),
    LogLine(
        "openai.BadRequestError: Error code: 400",
        "The provider refused this one request. It must reach its own customer only: catch it in"
        " the worker and send its text.",
    ),
)

HINTS: tuple[str, ...] = (
    "The dict is plain. What else is in `self.pool.submit(self.answer, inputs)`? "
    "The first argument crosses as well.",
    "`self.answer` is a bound method, so `self` crosses with it: the connection and the pool. "
    "Submit a plain function, defined above the line that starts the pool, and let it open the "
    "tickets in the job process.",
    "Now the way back: an exception of the OpenAI client cannot be put together again. Catch it in "
    'the job process, return `json.dumps({"error": str(problem)})`, and raise a `RuntimeError` '
    "with that text in `run()`.",
)


def check(app: App) -> CheckResult:
    """Deploy the learner's app under load, then beside a model that refuses everybody.

    Args:
        app: the learner's.

    Returns:
        Solved if every customer is answered, by a job process that opens the tickets itself, and
        a refused customer is told why.
    """
    from crewlab import services
    from crewlab.deployment import scale

    if not hasattr(os, "fork"):
        return CheckResult(False, "this system has no fork. Linux, macOS and WSL do.")
    local = services.current()
    with tempfile.TemporaryDirectory(prefix="crewlab-check-") as folder:
        witness = with_witness(app, Path(folder))
        if local is not None:
            local.model.reset()
        run = scale(witness, replicas=REPLICAS, threads=THREADS, requests=REQUESTS)
        problem = _not_answered(run)
        if problem is not None:
            return problem
        if local is None or not local.model_is_local:
            return CheckResult(True, "every customer is answered.", (LOAD,))
        problem = _not_by_jobs(run, local)
        if problem is not None:
            return problem
        problem = _not_told(_refused(witness, local))
        if problem is not None:
            return problem
    return CheckResult(
        True,
        "only plain data crosses, in both directions.",
        (LOAD, "Refused by the model: every customer is told why, and the pool lives on."),
    )


def _not_answered(run: Run) -> CheckResult | None:
    errors = " ".join(run.errors)
    if run.lost == REQUESTS:
        return CheckResult(False, f"the app does not start: {run.first_error}.")
    unsent = [text for text in run.errors if "pickle" in text or "local object" in text]
    if unsent:
        return CheckResult(
            False,
            "something that cannot be pickled still goes to the job process.",
            (LOAD, f"Python says: {re.sub(r' at 0x[0-9a-f]+', '', unsent[0])}."),
            _what_travels(unsent[0]),
        )
    if "terminated abruptly" in errors:
        return CheckResult(
            False,
            "the job processes end instead of working.",
            (LOAD,),
            "They know what the module held when they were forked: define the function above the"
            " line that starts the pool.",
        )
    if was_seen(run, "model asked", "replica"):
        return CheckResult(
            False,
            "kickoffs run in the replica itself.",
            (LOAD,),
            "Without a border nothing has to cross. Keep the job processes, and send them plain"
            " data.",
        )
    if run.timeout:
        return CheckResult(
            False,
            "customers wait, and no answer comes.",
            (LOAD,),
            "Something was sent that could not be put together on the other side.",
        )
    if run.wrong:
        return CheckResult(False, "customers are answered about somebody else.", (LOAD,))
    if run.ok < REQUESTS:
        return CheckResult(False, f"not every customer is answered: {run.first_error}.", (LOAD,))
    return None


def _what_travels(error: str) -> str:
    if "sqlite3.Connection" in error:
        return (
            "The connection travels, as an argument or inside the object whose method you submit."
            " Open it in the job process."
        )
    if "_thread.RLock" in error:
        return "A crew, an agent or a model travels. Build it in the job process."
    return (
        "A bound method carries its whole object, and a function without a name of its own in the"
        " module cannot be found again. Submit a plain function."
    )


def _not_by_jobs(run: Run, local: Services) -> CheckResult | None:
    if local.model.stats().total < REQUESTS:
        return CheckResult(
            False,
            "the answers are right, but not every customer's came from the model.",
            (LOAD,),
            "Let the crew do the work: each request needs a kickoff of its own.",
        )
    asked = was_seen(run, "model asked", "job process")
    if asked and not was_seen(run, "database opened", "job process"):
        return CheckResult(
            False,
            "every answer is right, but no job process opens the tickets.",
            (LOAD,),
            "Several processes now use a connection that was opened before the fork, which SQLite"
            " forbids. Store each ticket over a connection that its job process opens.",
        )
    return None


def _refused(witness: App, local: Services) -> Run:
    from crewlab.deployment import scale

    local.model.reset()
    with local.model.temporarily(errors=dict.fromkeys(range(1, 1000), 400)):
        return scale(witness, replicas=1, threads=2, requests=2, timeout=PATIENCE)


def _not_told(run: Run) -> CheckResult | None:
    load = "Load: two customers, and a model that refuses both with status 400."
    told = [record.error or record.answer or "" for record in run.requests]
    if run.timeout or any("abruptly" in text or "__init__() missing" in text for text in told):
        return CheckResult(
            False,
            "all are answered, until the model refuses: then the pool gives up.",
            (load,),
            "The exception crosses on its way back, and cannot be put together again. Turn it into"
            " text in the job process.",
        )
    if not all("400" in text for text in told):
        return CheckResult(
            False,
            "all are answered, but whom the model refuses is not told why.",
            (load,),
            "Send the text of the error back, and raise it in `run()`.",
        )
    return None
