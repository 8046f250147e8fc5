"""Chapter 12: repair the service that fell over."""

from __future__ import annotations

from crewlab.app import App
from crewlab.exercises.types import CheckResult, Option, Quiz

QUIZZES: dict[str, Quiz] = {
    "12-predict": Quiz(
        "In stage 09 two replicas are killed in the middle of a job, and the queue delivers those"
        " jobs again. What does the board say of the service as it is?",
        (
            Option(
                "Two requests are lost.",
                "They would be, if the queue forgot a job when it hands it out. This one delivers"
                " again.",
            ),
            Option(
                "Two requests failed with an error.",
                "A killed process raises nothing, and the second delivery runs as smoothly as any.",
            ),
            Option(
                "Nothing lost, nothing failed, all of it wrong.",
                "Each order is answered, so no error counts. But each one was paid twice: by the"
                " killed job and its second delivery, or by the two deliveries.",
                right=True,
            ),
            Option(
                "All right: a job that is done again gives the same letter.",
                "The letter is the same. The payment is a new one.",
            ),
        ),
    ),
    "12-remember": Quiz(
        "The board says 100. What have you shown?",
        (
            Option(
                "The service cannot fall over any more.",
                "Nine causes do no harm under this load. A tenth one, or another load, was not"
                " played.",
            ),
            Option(
                "These faults do no harm under this load, with these versions.",
                "That is what a test can show. So keep the load, and run it again when a package,"
                " a prompt or the number of replicas changes.",
                right=True,
            ),
            Option(
                "The service is fast enough.",
                "The board shows times and asks nothing of them: a stage only tells right from"
                " wrong.",
            ),
        ),
    ),
}

HINTS: tuple[str, ...] = (
    'Repair one cause at a time, and play its stage alone: `play(service, "01")`. Each stage'
    " depends on one cause only. The check names the first stage that falls over and gives a hint"
    " for it.",
    "Go through the file by lifetimes. What is made at import: which of it does a kickoff write to,"
    " which of it does work, what does it do with a variable that is missing? What is made for each"
    " request: who still refers to it afterwards?",
    "Then go through it by borders. Each call that leaves the process needs a limit (two seconds"
    " here), each effect a key of its order, each file a place that all replicas reach, each object"
    " sent to a process has to be plain data, and each pool a size from `MODEL_QUOTA` and"
    " `REPLICAS`.",
    "Stuck at one stage? Open its chapter and look at the cell `%%app fixed`: the same lines repair"
    " this service.",
)


def check(app: App) -> CheckResult:
    """Play what was not played yet with the learner's app, and look at the whole scoreboard.

    Args:
        app: the learner's.

    Returns:
        Solved if every stage holds that this system can play.
    """
    from crewlab.capstone import scoreboard

    board = scoreboard(app)
    first = board.first_failing
    number = len(board.played)
    if first is None:
        return CheckResult(
            True,
            f"all {number} causes are repaired: every request is right, and none is lost.",
            (board.verdict,),
        )
    run = first.run
    if run is not None and run.replicas[0].error and run.lost == len(run.requests):
        return CheckResult(False, f"the service does not start: {run.replicas[0].error}.")
    return CheckResult(
        False,
        f"{len(board.held)} of {number} causes are repaired.",
        (
            board.verdict,
            f"Stage {first.stage.number}, {first.stage.cause}: {first.stage.fault}.",
            f"Seen: {first.seen.rstrip('.')}.",
        ),
        f"{first.stage.hint} See chapter {first.stage.number}.",
    )
