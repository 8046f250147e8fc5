"""What the learner has done so far, and the table that shows it."""

from __future__ import annotations

import contextlib
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crewlab import workspace
from crewlab.exercises import catalog
from crewlab.exercises.store import State, Store
from crewlab.notebook.show import show

_stores: dict[Path | None, Store] = {}

_HEADINGS = ("Chapter", "Quizzes right", "Hints used", "Attempts", "Exercise")


@dataclass(frozen=True)
class Row:
    """How far the learner is in one chapter."""

    number: str
    title: str
    right: int
    quizzes: int
    hints_used: int
    hints: int
    attempts: int
    exercise: bool
    solved: bool

    @property
    def cells(self) -> tuple[str, str, str, str, str]:
        """The row in words, one entry a column."""
        if not self.exercise:
            return (f"{self.number} {self.title}", f"{self.right} of {self.quizzes}", "-", "-", "-")
        return (
            f"{self.number} {self.title}",
            f"{self.right} of {self.quizzes}",
            f"{self.hints_used} of {self.hints}",
            str(self.attempts),
            "solved" if self.solved else ("not solved yet" if self.attempts else "not tried yet"),
        )


def store() -> Store:
    """Give the place where this process's answers count.

    Returns:
        The file in the work folder; memory alone where answers are not the learner's
        (see ``workspace.keeps_progress``) or where no folder can be written.
    """
    key: Path | None = None
    if workspace.keeps_progress():
        with contextlib.suppress(OSError):
            key = workspace.home() / "progress.json"
    return _stores.setdefault(key, Store(key))


def record_quiz(name: str, choice: int, right: bool) -> None:
    """Note an answer: the first one, how many there were, and whether one was right."""

    def change(state: State) -> None:
        entry = state["quizzes"].setdefault(name, {})
        entry.setdefault("first", choice)
        entry["attempts"] = entry.get("attempts", 0) + 1
        entry["right"] = entry.get("right", False) or right

    store().update(change)


def record_check(number: str, solved: bool) -> None:
    """Note an attempt at an exercise; once solved, it stays solved."""

    def change(state: State) -> None:
        entry = state["chapters"].setdefault(number, {})
        entry["attempts"] = entry.get("attempts", 0) + 1
        entry["solved"] = entry.get("solved", False) or solved

    store().update(change)


def record_hint(number: str, shown: int) -> None:
    """Note that the hints up to this one, counted from 1, have been shown."""

    def change(state: State) -> None:
        entry = state["chapters"].setdefault(number, {})
        entry["hints"] = max(entry.get("hints", 0), shown)

    store().update(change)


def hints_shown(number: str) -> int:
    """Say how many hints of a chapter have been shown."""
    return int(store().read()["chapters"].get(number, {}).get("hints", 0))


def rows() -> list[Row]:
    """Give one row for each chapter there is."""
    state = store().read()
    found = []
    for number in catalog.numbers():
        chapter = catalog.chapter(number)
        entry: dict[str, Any] = state["chapters"].get(number, {})
        found.append(
            Row(
                number=number,
                title=chapter.title,
                right=sum(state["quizzes"].get(q, {}).get("right", False) for q in chapter.quizzes),
                quizzes=len(chapter.quizzes),
                hints_used=min(entry.get("hints", 0), len(chapter.hints)),
                hints=len(chapter.hints),
                attempts=entry.get("attempts", 0),
                exercise=chapter.check is not None,
                solved=entry.get("solved", False),
            )
        )
    return found


def one_line() -> str:
    """Say in one sentence how far the learner is."""
    table = rows()
    exercises = [row for row in table if row.exercise]
    solved = sum(row.solved for row in exercises)
    right, quizzes = sum(row.right for row in table), sum(row.quizzes for row in table)
    return (
        f"So far you have solved {solved} of {len(exercises)} exercise{'s' * (len(exercises) != 1)}"
        f" and answered {right} of {quizzes} quiz{'zes' * (quizzes != 1)} right."
    )


def progress() -> None:
    """Show, chapter by chapter, what is answered, tried and solved.

    The table is marked as varying: it depends on the reader, and grows with the course.
    """
    table = [row.cells for row in rows()]
    note = one_line()
    if not workspace.keeps_progress():
        note += "\nAnswers given in this notebook do not count: they end with its kernel."
    show(
        f"~~~ varies\n{_text(table)}\n\n{note}\n~~~",
        f"<!--varies-->{_html(table, note)}<!--/varies-->",
    )


def _text(table: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *table, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for cells in (_HEADINGS, tuple("-" * width for width in widths), *table)
    )
    return "\n".join(lines)


def _html(table: Sequence[tuple[str, ...]], note: str) -> str:
    left = ' style="text-align:left"'
    head = "".join(f'<th scope="col"{left}>{heading}</th>' for heading in _HEADINGS)
    body = "".join(
        "<tr>" + "".join(f"<td{left}>{html.escape(cell)}</td>" for cell in cells) + "</tr>"
        for cells in table
    )
    caption = f"<caption{left}>Your progress</caption>"
    words = html.escape(note).replace("\n", "<br>")
    return (
        f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{words}</p>"
    )
