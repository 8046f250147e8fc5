"""Gives hints one at a time, from a nudge to nearly the answer."""

from __future__ import annotations

from crewlab.exercises import catalog
from crewlab.exercises.progress import hints_shown, record_hint
from crewlab.notebook.show import as_html, panel, plain, show


def hint(chapter: str, number: int | None = None, *, again: bool = False) -> None:
    """Show the next hint of an exercise.

    Args:
        chapter: its number, such as "01".
        number: one hint, counted from 1; it may be one that was shown before, or the next one.
        again: repeat the last one instead.
    """
    try:
        found = catalog.chapter(chapter)
    except catalog.Unknown as problem:
        show(str(problem))
        return
    total = len(found.hints)
    shown = min(hints_shown(found.number), total)
    if not total:
        show(f"Chapter {found.number} has no exercise, and so no hints.")
        return
    if number is not None and (type(number) is not int or not 1 <= number <= min(shown + 1, total)):
        show(_out_of_reach(number, shown, total))
        return
    wanted = number or (max(shown, 1) if again else shown + 1)
    if wanted > total:
        show(
            f"You have seen all {total} hints of chapter {found.number}.\n"
            f'hint("{found.number}", 1) shows the first again.\n'
            f"A solution, run and proved, is in {catalog.solved_edition(found.number)}."
        )
        return
    record_hint(found.number, wanted)
    words, heading = found.hints[wanted - 1], f"Hint {wanted} of {total}"
    show(
        f"{heading}: {plain(words)}",
        panel(f"<strong>{heading}:</strong> {as_html(words)}"),
    )


def _out_of_reach(number: object, shown: int, total: int) -> str:
    if type(number) is int and shown + 1 < number <= total:
        return f"Hint {number} comes after hint {shown + 1}: take that one first."
    return f"There is no hint {number!r}: they are numbered from 1 to {total}."
