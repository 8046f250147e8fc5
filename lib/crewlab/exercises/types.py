"""What a chapter says about its quizzes, its exercise and its log lines, as plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """One possible answer of a quiz.

    Attributes:
        text: the answer, one line; words in `back quotes` are shown as code.
        why: one or two sentences that say why it is right, or what it overlooks.
        right: whether it is the answer.
    """

    text: str
    why: str
    right: bool = False


@dataclass(frozen=True)
class Quiz:
    """A question with one right answer.

    Attributes:
        question: what is asked; words in `back quotes` are shown as code.
        options: two or more, exactly one of them right, in the order in which they are shown.

    Raises:
        ValueError: fewer than two options, not exactly one right, or an option without its reason.
    """

    question: str
    options: tuple[Option, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(self.options))
        if len(self.options) < 2:
            raise ValueError(f"The quiz {self.question!r} needs at least two options.")
        if sum(option.right for option in self.options) != 1:
            raise ValueError(f"The quiz {self.question!r} needs exactly one right option.")
        for option in self.options:
            if not option.text.strip() or not option.why.strip():
                raise ValueError(f"An option of {self.question!r} lacks its text or its reason.")

    @property
    def right(self) -> int:
        """The number of the right option, counted from 1 as the learner sees it."""
        return next(number for number, option in enumerate(self.options, 1) if option.right)


@dataclass(frozen=True)
class CheckResult:
    """What a chapter's check found out about the learner's app.

    Attributes:
        solved: whether the exercise is solved.
        message: one sentence, shown after "Solved: " or "Not solved yet: ". It names what was
            seen, and says the same on every run: no timing, count of a race, or address in it.
        details: lines of evidence below the message, as constant as the message.
        hint: for an answer that is wrong in a known way, one line that points at the way on.
    """

    solved: bool
    message: str
    details: tuple[str, ...] = ()
    hint: str | None = None

    def __post_init__(self) -> None:
        details = (self.details,) if isinstance(self.details, str) else tuple(self.details)
        object.__setattr__(self, "details", details)


@dataclass(frozen=True)
class LogLine:
    """What is seen in a log, or not seen there, and what a chapter makes of it.

    Attributes:
        text: the part of the line that stays the same, as it is printed; for silence and the
            like, what is seen instead of an error.
        means: one sentence: the cause, and the repair if it is short.
    """

    text: str
    means: str
