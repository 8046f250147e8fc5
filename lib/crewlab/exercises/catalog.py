"""Finds the chapters, and what each of them brings: quizzes, hints, a check."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from crewlab import workspace
from crewlab.exercises.types import LogLine, Quiz


class Unknown(LookupError):
    """There is no such chapter or quiz; the text says which there are."""


@dataclass(frozen=True)
class Chapter:
    """A chapter as the exercises see it.

    Attributes:
        number: two digits.
        title: as the chapter's text has it.
        quizzes: by their whole name, such as ``01-predict``.
        hints: for its exercise, in the order in which they are given.
        check: looks at the learner's app; None if the chapter has no exercise.
        logs: the log lines that it explains.
    """

    number: str
    title: str
    quizzes: dict[str, Quiz]
    hints: tuple[str, ...]
    check: Callable[[Any], Any] | None
    logs: tuple[LogLine, ...] = ()


def numbers() -> list[str]:
    """List the chapters there are, as two digits each, in order."""
    try:
        package = importlib.import_module("crewlab.chapters")
    except ModuleNotFoundError:
        return []
    names = (module.name for module in pkgutil.iter_modules(package.__path__))
    return sorted(name[2:] for name in names if re.fullmatch(r"ch\d\d", name))


def chapter(number: object) -> Chapter:
    """Load a chapter.

    Args:
        number: "01", or 1.

    Raises:
        Unknown: there is no such chapter.
    """
    wanted = str(number).strip().zfill(2)
    known = numbers()
    if wanted not in known:
        listed = ", ".join(f'"{name}"' for name in known) or "none yet"
        raise Unknown(f"There is no chapter {number!r}.\nThe chapters are: {listed}.")
    module = importlib.import_module(f"crewlab.chapters.ch{wanted}")
    quizzes = {
        name if name.startswith(f"{wanted}-") else f"{wanted}-{name}": quiz
        for name, quiz in getattr(module, "QUIZZES", {}).items()
    }
    hints = tuple(getattr(module, "HINTS", ()))
    logs = tuple(getattr(module, "LOGS", ()))
    check = getattr(module, "check", None)
    return Chapter(wanted, _title(wanted), quizzes, hints, check, logs)


def quiz(name: object) -> Quiz:
    """Find a quiz by its whole name, such as ``01-predict``.

    Raises:
        Unknown: there is no such quiz.
    """
    text = str(name)
    found = chapter(text.partition("-")[0]).quizzes if re.match(r"\d\d-", text) else {}
    if text in found:
        return found[text]
    known = list(found) or [key for number in numbers() for key in chapter(number).quizzes]
    listed = ", ".join(f'"{key}"' for key in known) or "none yet"
    raise Unknown(f"There is no quiz {name!r}.\nThe quizzes are: {listed}.")


def solved_edition(number: str) -> str:
    """Name the notebook with the chapter's solution, from the project's folder on."""
    found = sorted((workspace.project() / "solutions").glob(f"{number}_*.ipynb"))
    return f"solutions/{found[0].name}" if found else f"solutions/{number}_....ipynb"


def notebook_name(number: str) -> str:
    """Name the notebook of a chapter, which need not be built yet."""
    found = sorted((workspace.project() / "chapters").glob(f"{number}_*.md"))
    return f"{found[0].stem}.ipynb" if found else f"{number}_....ipynb"


def _title(number: str) -> str:
    for path in sorted((workspace.project() / "chapters").glob(f"{number}_*.md")):
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("# "):
                    return line[2:].strip()
    return f"Chapter {number}"
