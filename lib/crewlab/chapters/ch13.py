"""Chapter 13: take it to many machines."""

from __future__ import annotations

from crewlab.app import App
from crewlab.exercises.types import CheckResult, LogLine, Option, Quiz

QUIZZES: dict[str, Quiz] = {
    "13-predict": Quiz(
        "Celery runs this task with its default settings, on two processes. Both are killed in the"
        " middle of a job. What becomes of the two jobs?",
        (
            Option(
                "They wait in the queue, and the next process takes them.",
                "By default the queue forgets a job when a process begins it.",
            ),
            Option(
                "They are lost, and both customers have paid.",
                "Celery acknowledges a job before the work unless it is told otherwise. The charge"
                " had left the process already.",
                right=True,
            ),
            Option(
                "They are lost, and the charges are taken back.",
                "Only a database transaction is taken back. What left the process has happened.",
            ),
            Option(
                "Celery starts both once more, since their process ended abnormally.",
                "It notices the end, and marks the jobs as failed with WorkerLostError.",
            ),
        ),
    ),
    "13-remember": Quiz(
        "The visibility timeout of the queue is 60 s. A job takes 90 s. Nobody dies. What happens?",
        (
            Option(
                "Nothing: the timeout counts for dead workers only.",
                "The queue does not see whether a worker lives. It only counts the seconds.",
            ),
            Option(
                "The job is cut off after 60 s.",
                "The first delivery goes on; nobody tells it.",
            ),
            Option(
                "The job is delivered again while the first delivery still runs.",
                "Two workers have it at the same time. Make the timeout longer than the longest"
                " job, and the job safe to do twice.",
                right=True,
            ),
            Option(
                "The job goes to the dead letters.",
                "Celery on Redis counts no deliveries. You have to.",
            ),
        ),
    ),
}

LOGS: tuple[LogLine, ...] = (
    LogLine(
        "WorkerLostError: Worker exited prematurely: signal 9 (SIGKILL)",
        "A Celery child was killed, and its job was acknowledged with it. Set task_acks_late and"
        " task_reject_on_worker_lost, and give every effect the job's key.",
    ),
    LogLine(
        "RuntimeError: put aside after 2 deliveries",
        "A job ended each process that took it. It waits among the dead letters for a person.",
    ),
    LogLine(
        "A job that is neither in the queue nor in a result",
        "It was acknowledged early, and its machine is gone. Acknowledge late.",
    ),
    LogLine(
        "OutOfMemoryError: command not allowed when used memory > 'maxmemory'",
        "The broker is full. Put large texts into object storage and their key into the job.",
    ),
)

HINTS: tuple[str, ...] = (
    "A late acknowledgement is still an acknowledgement. What does Celery do with the job of a"
    " child that was killed?",
    "`reject_on_worker_lost=True` gives the job back. It comes again, from its first line: which"
    " line must not happen twice?",
    'Beside `reject_on_worker_lost=True`: charge with `Key=f"charges/{order}"` and'
    ' `IfNoneMatch="*"`, and go on after a `PreconditionFailed`.',
)

ORDERS = 4
KILLED = "Two children were killed in the middle of a job, while the model was being asked."


def check(app: App) -> CheckResult:
    """Run the learner's task on Celery, and kill two of its children in the middle of a job.

    Args:
        app: the learner's.

    Returns:
        Solved if each order is answered, by way of the model, and charged exactly once.
    """
    from crewlab.deployment import Eviction
    from crewlab.engines import celery
    from crewlab.exercises.payments import not_charged_once
    from crewlab.services import current
    from crewlab.services.shop import Shop

    shop = Shop()
    with shop.jobs_held(2) as in_mid_job:
        run = celery(
            app,
            replicas=2,
            requests=shop.orders(ORDERS),
            evict=[Eviction(number, when=in_mid_job) for number in (0, 1)],
            env=shop.environment,
            timeout=60,
        )
        local = current()
        calls = local.model.stats().total if local is not None and local.model_is_local else None
    if run.lost == ORDERS:
        return CheckResult(False, f"the task does not start: {run.first_error}.")
    if run.lost:
        return CheckResult(
            False,
            "jobs are lost with the child that had them.",
            (KILLED, "Celery says: WorkerLostError."),
            "Celery acknowledges the job of a lost child, late or not, unless it shall reject it.",
        )
    if run.ok < ORDERS:
        return CheckResult(
            False,
            f"not every order is answered: {run.first_error or 'no answer in time'}.",
            (KILLED,),
        )
    return not_charged_once(
        run,
        shop,
        calls,
        KILLED,
        never="What does the second delivery take the traces of the first one for?",
        twice=(
            "no job is lost any more, and customers are charged twice.",
            "The job comes again from its first line. Give the payment the order's key.",
        ),
    ) or CheckResult(True, "no job is lost, and every order is charged once.", (KILLED,))
