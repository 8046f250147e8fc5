"""Looks at the learner's app and says what is still missing, in words."""

from __future__ import annotations

from typing import Any

from crewlab.app import App
from crewlab.exercises import catalog
from crewlab.exercises.progress import record_check
from crewlab.exercises.types import CheckResult
from crewlab.notebook.show import GOOD, TRY_AGAIN, as_html, panel, plain, show


class CheckFailed(Exception):
    """The check itself went wrong, which says nothing about the app it was given."""


def check(chapter: str, app: App) -> None:
    """Check an exercise and show the verdict. Never raises because of what the learner wrote.

    Args:
        chapter: its number, such as "01".
        app: what ``%%app`` made of the learner's cell.
    """
    try:
        found = catalog.chapter(chapter)
    except catalog.Unknown as problem:
        show(str(problem))
        return
    try:
        result = evaluate(found.number, app)
    except CheckFailed as problem:
        text = (
            f"The check failed to run: {problem}\n"
            "It says nothing about your app, and does not count as an attempt.\n"
            "Run the cell again; if it stays so, restart the kernel and run all cells above."
        )
        show(text, panel(as_html(text)))
        return
    if isinstance(app, App):
        record_check(found.number, result.solved)
    show(_text(result), _html(result))


def evaluate(chapter: str, app: Any) -> CheckResult:
    """Run a chapter's check, without showing or recording anything.

    Args:
        chapter: its number, such as "01".
        app: the learner's app; anything else is answered with what to do.

    Returns:
        The chapter's verdict.

    Raises:
        catalog.Unknown: there is no such chapter.
        CheckFailed: the check raised, or returned no verdict.
    """
    found = catalog.chapter(chapter)
    if found.check is None:
        return CheckResult(False, f"chapter {found.number} has no exercise to check.")
    problem = _not_an_app(app)
    if problem:
        return CheckResult(False, problem)
    try:
        result = found.check(app)
    except Exception as error:
        reason = (str(error) or "no message").splitlines()[0]
        raise CheckFailed(f"{type(error).__name__}: {reason}") from error
    if not isinstance(result, CheckResult):
        raise CheckFailed(f"it returned {type(result).__name__}, not a verdict.")
    return result


def _not_an_app(app: Any) -> str | None:
    if not isinstance(app, App):
        kind = "nothing (None)" if app is None else f"of type {type(app).__name__}"
        return (
            f"the check needs an app, and what it got is {kind}. "
            "Run the cell that starts with %%app, then give the name written there."
        )
    if not app.path.is_file():
        return f"the file of {app.name} is gone. Run its %%app cell again."
    return None


def _text(result: CheckResult) -> str:
    verdict = "Solved" if result.solved else "Not solved yet"
    lines = [f"{verdict}: {result.message}", *(f"  - {detail}" for detail in result.details)]
    if result.hint:
        lines.append(f"Hint: {result.hint}")
    return plain("\n".join(lines))


def _html(result: CheckResult) -> str:
    symbol, verdict = ("✓", "Solved") if result.solved else ("○", "Not solved yet")
    parts = [f"<strong>{symbol} {verdict}:</strong> {as_html(result.message)}"]
    if result.details:
        items = "".join(f"<li>{as_html(detail)}</li>" for detail in result.details)
        parts.append(f"<ul>{items}</ul>")
    if result.hint:
        parts.append(f"<p><strong>Hint:</strong> {as_html(result.hint)}</p>")
    return panel("".join(parts), GOOD if result.solved else TRY_AGAIN)
