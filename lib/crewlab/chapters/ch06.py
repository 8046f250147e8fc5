"""Chapter 06: never kick off before a fork."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from crewlab.app import App
from crewlab.exercises.types import CheckResult, LogLine, Option, Quiz

REPLICAS, REQUESTS = 2, 6
LOAD = f"{REQUESTS} letters on {REPLICAS} replicas, forked from a master that imported the app"

QUIZZES: dict[str, Quiz] = {
    "06-predict": Quiz(
        "A preloading master imports the app, warm-up included, and forks four replicas."
        " Each builds a fresh crew for each request. What do the eight customers get?",
        (
            Option(
                "Right answers, and sooner: the replicas are warm from the start.",
                "The modules are warm. The threads that the warm-up started stay in the master.",
            ),
            Option(
                "`RuntimeError: Executor is already running`.",
                "That needs a shared agent. Each request builds its own here.",
            ),
            Option(
                "Reports about Yarrowdale, the customer of the warm-up.",
                "The warm-up's crew is thrown away; no request uses it.",
            ),
            Option(
                "Nothing at all: every request hangs.",
                "The replicas inherit an event bus that believes its threads are running. They"
                " were not forked, and a kickoff waits for them without a time limit.",
                right=True,
            ),
        ),
    ),
    "06-remember": Quiz(
        "What may a preloading master do before it forks?",
        (
            Option(
                "Call the model once, with `LLM(...).call()`: that is no kickoff.",
                "The call sends events too, and the first event starts the threads.",
            ),
            Option(
                "Kick off in a background thread, so that the main thread stays clean.",
                "The threads start all the same, and the fork may come in the middle of the"
                " kickoff.",
            ),
            Option(
                "Import CrewAI and build a crew, without kicking it off.",
                "Neither sends an event, so no thread is there to be left behind.",
                right=True,
            ),
            Option(
                "Kick off, if the requests build crews of their own.",
                "There is one event bus in a process. Fresh crews use the one that was forked.",
            ),
        ),
    ),
}

LOGS: tuple[LogLine, ...] = (
    LogLine(
        "No error and no answer: every request of a forked worker times out",
        "A kickoff ran before the fork, and the workers wait for threads that did not survive "
        "it. Preload the imports, and warm up after the fork.",
    ),
    LogLine(
        "crewai/crews/utils.py in prepare_kickoff, at future.result()",
        "Where a stack dump shows a worker that waits for the event bus of before the fork. "
        "Never kick off before a fork.",
    ),
    LogLine(
        "RuntimeError: dictionary changed size during iteration",
        "First kickoffs of a process met while CrewAI built its models without a lock. Warm each"
        " worker up once, after the fork.",
    ),
    LogLine(
        "AttributeError: type object 'BaseModel' has no attribute '__pydantic_core_schema__'",
        "First kickoffs of a process met while the OpenAI SDK built its models without a lock. Warm"
        " each worker up once, after the fork: template/service/warm.py does.",
    ),
)

HINTS: tuple[str, ...] = (
    "The requests build their own crew, and that is right. Which line runs a crew while the module "
    "is being imported?",
    "`TONE = write_guide()` is a kickoff in the master. It must happen in the replica, so at the "
    "first request at the earliest, and only once in each process.",
    "Write a function `tone()` that keeps the guide in a list or a global, and calls "
    "`write_guide()` if there is none yet. Hold a `threading.Lock()` meanwhile, and use `tone()` "
    "where `TONE` was.",
)

# Deployed in place of the learner's app: which threads does importing that one start?
PROBE = """\
import sys
import threading

import crewai

before = set(threading.enumerate())
sys.path.insert(0, {folder!r})
import {name}

started = {{thread.name.partition("_")[0] for thread in set(threading.enumerate()) - before}}


def run(inputs):
    return ", ".join(sorted(started)) or "none"
"""


def check(app: App) -> CheckResult:
    """Look at what importing the learner's app starts, then deploy it behind a preloading master.

    Args:
        app: the learner's.

    Returns:
        Solved if nothing is kicked off before the fork, all letters are written and heard of by
        the audit, and the guide comes from its crew, at most once in each process.
    """
    from crewlab import services
    from crewlab.deployment import scale

    started = _threads_after_import(app)
    if started.startswith("error: "):
        return CheckResult(False, f"the app does not start: {started.removeprefix('error: ')}.")
    if started != "none":
        return CheckResult(
            False,
            "importing the app still runs a crew, and a replica that is forked after that hangs.",
            (
                f"Threads that the import starts: {started}.",
                "A forked replica has none of them, and CrewAI believes that it has.",
            ),
            "Whatever kicks off has to wait until a request is there: in a function that run() "
            "calls.",
        )
    local = services.current()
    if local is not None:
        local.model.reset()
    run = scale(
        app,
        replicas=REPLICAS,
        threads=1,
        requests=REQUESTS,
        start_method="fork" if hasattr(os, "fork") else "forkserver",
    )
    if run.timeout:
        return CheckResult(False, "letters are still waited for without end.", (f"Load: {LOAD}.",))
    if run.ok < REQUESTS:
        why = run.first_error or "an answer is not about the customer who asked"
        return CheckResult(False, f"not every letter is written: {why}.", (f"Load: {LOAD}.",))
    heard = "".join(replica.log for replica in run.replicas)
    if not all(f"audit: {record.inputs}" in heard for record in run.requests):
        return CheckResult(
            False,
            "the letters are written, and the audit does not hear of all of them.",
            (f"Load: {LOAD}.",),
            "Leave the listener and the event bus as they are: neither is at fault.",
        )
    if local is None or not local.model_is_local:
        return CheckResult(True, "every letter is written.", (f"Load: {LOAD}.",))
    calls = [call.names for call in local.model.journal()]
    letters, guides = sum(map(bool, calls)), calls.count(())
    if letters < REQUESTS:
        return CheckResult(
            False,
            "the answers are right, but not every letter came from the model.",
            (f"Load: {LOAD}.",),
            "Each request needs a kickoff of its own.",
        )
    if guides == 0:
        return CheckResult(
            False,
            "the letters are written without a guide from its crew.",
            (f"Load: {LOAD}.",),
            "Keep write_guide(), and call it at another time.",
        )
    if guides > REPLICAS:
        return CheckResult(
            False,
            "every letter is written, and the guide is written anew for each.",
            (f"Load: {LOAD}.", "More guides than replicas were asked of the model."),
            "Keep the guide after the first request of a process.",
        )
    return CheckResult(
        True,
        "every letter is written, and the guide once in a process, after the fork.",
        (f"Load: {LOAD}.",),
    )


def _threads_after_import(app: App) -> str:
    """Name the threads that importing the app starts: "none", or "error: ..." if it fails."""
    from crewlab.deployment import scale

    with tempfile.TemporaryDirectory(prefix="crewlab-probe-") as folder:
        path = Path(folder) / "probe.py"
        source = PROBE.format(folder=str(app.path.parent), name=app.name)
        path.write_text(source, encoding="utf-8")
        run = scale(path, replicas=1, threads=1, requests=1, judge=lambda _inputs, _answer: True)
    record = run.requests[0]
    return record.answer if record.answer is not None else f"error: {run.first_error}"
