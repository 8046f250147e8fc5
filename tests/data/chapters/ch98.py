"""A small chapter for the tests of the exercises: its exercise is to return an upper-case name."""

from crewlab.exercises.types import CheckResult, Option, Quiz

QUIZZES = {
    "predict": Quiz(
        "What happens to `crew` on 4 threads?",
        (
            Option("Nothing: it has a <lock>", "There is no lock around `kickoff`."),
            Option("It crashes", "One executor serves all of them.", right=True),
            Option("It is slower", "Nothing waits."),
        ),
    ),
}

HINTS = ("Look at `run`.", "Use `upper`.", "Return `inputs['company'].upper()`.")


def check(app):
    if "crash" in app.source:
        raise RuntimeError("the check stumbled\nover a second line")
    if "nonsense" in app.source:
        return True
    if "upper" in app.source:
        return CheckResult(
            True, "the name is in capitals.", details=("`Aldermoor` gave ALDERMOOR",)
        )
    if "lower" in app.source:
        return CheckResult(False, "the name is in small letters.", hint="The other way round.")
    return CheckResult(False, "the name is <unchanged>.", ("asked about: Aldermoor",))
