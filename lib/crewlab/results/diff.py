"""What changed between two apps."""

from __future__ import annotations

import difflib

from crewlab.app import App


class Diff:
    """The lines that differ, with a few around them."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    def __repr__(self) -> str:
        return "\n".join(self.lines)

    def _repr_html_(self) -> str:
        from crewlab.results.html import diff_as_html

        return diff_as_html(self.lines)


def diff(before: App, after: App) -> Diff:
    """Show what changed from one app to another.

    Args:
        before: for example the broken app.
        after: for example the fixed one.

    Returns:
        A unified diff; empty where the two are the same.
    """
    return Diff(
        list(
            difflib.unified_diff(
                before.source.splitlines(),
                after.source.splitlines(),
                before.path.name,
                after.path.name,
                lineterm="",
                n=1,
            )
        )
    )
