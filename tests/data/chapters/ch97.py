"""A chapter without exercise, for the tests of the exercises."""

from crewlab.exercises.types import Option, Quiz

QUIZZES = {
    "97-first": Quiz(
        "Which is right?",
        (Option("This", "It is.", right=True), Option("That", "It is not.")),
    ),
}
