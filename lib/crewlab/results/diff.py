"""What changed between two apps."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from crewlab.app import App

CONTEXT = 1


class Diff:
    """The lines that differ, with a line around them."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    def __repr__(self) -> str:
        return "\n".join(self.lines)

    def _repr_html_(self) -> str:
        from crewlab.results.html import diff_as_html

        return diff_as_html(self.lines)


def diff(before: App, after: App) -> Diff:
    """Show what changed from one app to another; a line that only moved sideways is no change.

    Args:
        before: for example the broken app.
        after: for example the fixed one.

    Returns:
        The lines taken away (-) and added (+); no line where the two are the same.
    """
    lines = list(_changes(before.source.splitlines(), after.source.splitlines()))
    return Diff([f"--- {before.path.name}", f"+++ {after.path.name}", *lines] if lines else [])


def _changes(old: list[str], new: list[str]) -> Iterator[str]:
    matcher = difflib.SequenceMatcher(
        None, [line.strip() for line in old], [line.strip() for line in new], autojunk=False
    )
    for group in matcher.get_grouped_opcodes(CONTEXT):
        yield f"@@ line {group[0][3] + 1} @@"
        for change, old_from, old_to, new_from, new_to in group:
            if change == "equal":
                yield from (f"  {line}" for line in new[new_from:new_to])
            else:
                yield from (f"- {line}" for line in old[old_from:old_to])
                yield from (f"+ {line}" for line in new[new_from:new_to])
