"""Chapter 01: build crews inside functions."""

from __future__ import annotations

import contextlib

from crewlab.app import App
from crewlab.exercises.types import CheckResult, LogLine, Option, Quiz

REPLICAS, THREADS, REQUESTS = 2, 4, 8
LATENCY = 0.5  # s; kickoffs that share something meet on a busy machine too

QUIZZES: dict[str, Quiz] = {
    "01-predict": Quiz(
        "Four replicas, six requests at a time in each. What do the 24 customers get?",
        (
            Option(
                "24 right answers: each replica is a process with its own crew.",
                "Each process has its own crew, but the six threads inside a process share it.",
            ),
            Option(
                "Some errors; whoever gets an answer gets the right one.",
                "The errors are the lucky cases. An answer that does come may be another"
                " customer's.",
            ),
            Option(
                "Errors, and answers about other customers.",
                "The threads of a replica overwrite the shared tasks and agents. CrewAI notices"
                " some collisions and raises; the others end in an answer about somebody else.",
                right=True,
            ),
            Option(
                "Nothing: the replicas wait for one another and hang.",
                "No lock is held across replicas. Silence is another cause, in a later chapter.",
            ),
        ),
    ),
    "01-remember": Quiz(
        "A colleague catches the `RuntimeError` and tries again until the kickoff works. And now?",
        (
            Option(
                "Solved: every customer gets an answer.",
                "Every customer gets an answer; some get another customer's. You removed the"
                " alarm, not the cause.",
            ),
            Option(
                "Fewer errors, more answers about the wrong customer.",
                "The error is CrewAI's guard. Each further attempt overwrites the texts of the"
                " kickoff that is still running.",
                right=True,
            ),
            Option(
                "It is slow, but right: the retries put the kickoffs in a queue.",
                "A retry writes its own customer into the shared tasks before it meets the guard.",
            ),
        ),
    ),
}

LOGS: tuple[LogLine, ...] = (
    LogLine(
        "RuntimeError: Executor is already running. Cannot invoke the same executor instance"
        " concurrently.",
        "Two requests of one process met in the same agent. Build the crew, its agents and its"
        " tasks inside a function, once for each request.",
    ),
    LogLine(
        "An answer, with status 200, about another customer",
        "A kickoff overwrote the texts of another one: an agent, a task or a crew is shared.",
    ),
    LogLine(
        "ValidationError: 2 validation errors for Agent llm.str llm.BaseLLM",
        "Agent(llm=...) was given a ChatOpenAI object. Pass crewai.LLM, or wrap it in a BaseLLM.",
    ),
)

HINTS: tuple[str, ...] = (
    "The crew and the tasks are built for each request. Which objects in this module are not?",
    "Ask of each object: is it made when the module is imported, and does a kickoff write to it? "
    "An agent's role, goal and backstory are rewritten by each kickoff, and it has one executor.",
    "`helpdesk = Helpdesk()` at the bottom makes the two agents once a process. Make the helpdesk "
    "inside `run()`, and each request has agents of its own.",
)


def check(app: App) -> CheckResult:
    """Deploy the learner's app under the load that breaks the exercise.

    Args:
        app: the learner's.

    Returns:
        Solved if all requests are answered right, by the model, and at the same time.
    """
    from crewlab import services
    from crewlab.deployment import scale

    local = services.current()
    if local is not None:
        local.model.reset()
    with local.model.temporarily(latency=LATENCY) if local else contextlib.nullcontext():
        run = scale(app, replicas=REPLICAS, threads=THREADS, requests=REQUESTS)
    load = f"{REQUESTS} customers at once on {REPLICAS} replicas of {THREADS} threads"
    if run.lost == REQUESTS:
        return CheckResult(False, f"the app does not start: {run.first_error}.")
    if any("Executor is already running" in text for text in run.errors):
        return CheckResult(
            False,
            "with several customers at once, kickoffs still meet in the same objects.",
            (f"Load: {load}.", "CrewAI says: Executor is already running."),
        )
    if run.wrong:
        return CheckResult(
            False,
            "no error any more, and customers are answered about somebody else.",
            (f"Load: {load}.",),
            "Hiding the error does not part the customers: nothing a kickoff writes to may be"
            " shared.",
        )
    if run.ok < REQUESTS:
        return CheckResult(False, f"not every customer is answered: {run.first_error}.")
    if local is None or not local.model_is_local:
        return CheckResult(True, "every customer is answered right.", (f"Load: {load}.",))
    stats = local.model.stats()
    if stats.total < REQUESTS:
        return CheckResult(
            False,
            "the answers are right, but not every customer's came from the model.",
            (f"Load: {load}.",),
            "Let the crew do the work: each request needs a kickoff of its own.",
        )
    if stats.peak_in_flight <= REPLICAS:
        return CheckResult(
            False,
            "every answer is right, but the customers wait for one another.",
            (f"Load: {load}.", "No replica had two requests at the model at the same time."),
            "A lock lets one kickoff at a time into each replica. Take away what it protects.",
        )
    return CheckResult(
        True,
        "every customer is answered right, and none waits for another.",
        (f"Load: {load}.",),
    )
