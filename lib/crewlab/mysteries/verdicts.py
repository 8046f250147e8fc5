"""Right or wrong: what is said about a diagnosis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crewlab.mysteries.cases import HEALTHY
from crewlab.mysteries.causes import CAUSES, Cause

if TYPE_CHECKING:
    from crewlab.mysteries.mystery import Mystery

NAMES: tuple[str, ...] = (*CAUSES, HEALTHY)


@dataclass(frozen=True)
class Said:
    """What is said about a diagnosis.

    Attributes:
        right: whether it names the cause, or all causes, and nothing else.
        headline: one sentence.
        lines: further ones: what tells, and what was overlooked.
    """

    right: bool
    headline: str
    lines: tuple[str, ...] = ()


def judge(mystery: Mystery, named: Sequence[str]) -> Said:
    """Judge a diagnosis that was made with the mystery's tools.

    Args:
        mystery: knows which tools were used.
        named: names of causes, or "healthy".
    """
    if problem := unusable(named):
        return Said(False, f"Not judged: {problem}")
    if not mystery.gathered:
        return Said(
            False,
            "Not judged: you have not looked yet, and a symptom has more than one cause.",
            ("Gather evidence first, for example with `.alone()` and `.together()`.",),
        )
    return compare(mystery, named)


def compare(mystery: Mystery, named: Sequence[str]) -> Said:
    """Hold a diagnosis against the causes.

    Args:
        mystery: knows the causes.
        named: usable names.
    """
    causes = [CAUSES[name] for name in mystery.case.causes]
    given, true = set(named) - {HEALTHY}, set(mystery.case.causes)
    if given == true:
        return Said(True, _right(named), (*map(_told, causes), mystery.case.lesson))
    if not true:
        return Said(
            False,
            "Wrong: nothing is broken here.",
            tuple(_not_seen(CAUSES[name]) for name in named),
        )
    if not given:
        return Said(False, "Wrong: it is not healthy.", tuple(_would(c, mystery) for c in causes))
    wrong, left = sorted(given - true), [cause for cause in causes if cause.name not in given]
    if not wrong:
        return Said(
            False,
            f"Right about {_listed(sorted(given))}, and something else is wrong as well.",
            tuple(_would(cause, mystery) for cause in left),
        )
    return Said(
        False,
        f"Wrong: it is not {_listed(wrong)}.",
        (
            *(_not_seen(CAUSES[name]) for name in wrong),
            *(_would(cause, mystery) for cause in left),
        ),
    )


def unusable(named: Sequence[str]) -> str | None:
    """Say why names are no diagnosis; None if they are one.

    Args:
        named: what was given.
    """
    if not named:
        return f"name a cause: {_listed(NAMES)}."
    for name in named:
        if name not in NAMES:
            return f"{name!r} is no cause that is known here. They are: {_listed(NAMES)}."
    if len(set(named)) > 2:
        return "to name everything is no diagnosis. Name what the evidence shows."
    if HEALTHY in named and len(set(named)) > 1:
        return "it is healthy, or it has a cause."
    return None


def _right(named: Sequence[str]) -> str:
    names = sorted(set(named))
    if names == [HEALTHY]:
        return "Right: it is healthy."
    return f"Right: {_listed(names)}."


def _told(cause: Cause) -> str:
    return f"What tells {cause.name}: {cause.evidence} (chapter {cause.chapter})."


def _would(cause: Cause, mystery: Mystery) -> str:
    used = all(tool in mystery.gathered for tool in cause.tools)
    seen = "You have used these tools; look again" if used else "You have not used them all yet"
    return f"What would have told: {cause.evidence}. {seen}."


def _not_seen(cause: Cause) -> str:
    return f"If it were {cause.name}, this would be seen: {cause.evidence}."


def _listed(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
