"""Chapter 00: start here."""

from __future__ import annotations

from crewlab.exercises.types import Option, Quiz

QUIZZES: dict[str, Quiz] = {
    "00-outcomes": Quiz(
        "A request comes back with a fluent answer and no error. Which outcomes can it have?",
        (
            Option(
                "`ok` only: it was answered.",
                "An answer may be about another customer. The course compares each answer with the"
                " name in its own request.",
            ),
            Option(
                "`ok` or `wrong`: it depends on whom the answer is about.",
                "An answer about somebody else raises no error and no alarm. That is why every"
                " answer here is checked against its own request.",
                right=True,
            ),
            Option(
                "`ok` or `timeout`: it may have come late.",
                "A request whose time is up gets the outcome `timeout` at once; an answer that"
                " arrives later no longer counts.",
            ),
        ),
    ),
}

HINTS: tuple[str, ...] = ()
