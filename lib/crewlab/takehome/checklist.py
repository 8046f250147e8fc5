"""The checklist of the take-home service, as its README has it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from crewlab import workspace
from crewlab.errors import ToldValueError

_ROW = re.compile(r"^\| (?P<number>\d+) \|(?P<cells>.*)\|$", re.MULTILINE)
_CODE = re.compile(r"`([^`]+)`")


def template() -> Path:
    """Give the folder of the take-home service."""
    return workspace.project() / "template"


@dataclass(frozen=True)
class Line:
    """One line of the checklist.

    Attributes:
        number: from 1.
        text: what the service does.
        chapters: the numbers of the chapters that show what happens without it.
        places: where it is done: a file below ``service/`` or ``template/``, and after a colon
            the function or class, if it is one.
        test: the test that fails without it, as pytest names it, below ``tests/``.
    """

    number: int
    text: str
    chapters: tuple[str, ...]
    places: tuple[str, ...]
    test: str


class Checklist(Sequence[Line]):
    """All lines, in order; shown as a table."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self._lines = list(lines)

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, index: int) -> Line:  # type: ignore[override]
        return self._lines[index]

    def line(self, number: object) -> Line:
        """Find a line by its number.

        Raises:
            ValueError: there is no such line.
        """
        for line in self._lines:
            if line.number == number:
                return line
        raise ToldValueError(
            f"The checklist has no line {number!r}: its lines are 1 to {len(self._lines)}."
        )

    def __str__(self) -> str:
        return "\n".join(
            f"{line.number:2}  {line.text}\n    chapter {', '.join(line.chapters)}"
            f"  {', '.join(line.places)}\n    {line.test}"
            for line in self._lines
        )

    def _ipython_display_(self) -> None:
        """Show the table. It may differ from a stored one: its links follow the chapters' names."""
        from crewlab.notebook.show import show
        from crewlab.results.html import html_table, varies
        from crewlab.results.show import varies_text

        rows = [
            (
                str(line.number),
                f'<div style="min-width:17em">{escape(line.text)}</div>',
                ", ".join(map(_link, line.chapters)),
                "<br>".join(f"<code>{escape(place)}</code>" for place in line.places),
                # A long name may break after each word: else the table runs off the page.
                f"<code>{escape(line.test).replace('::', '::<wbr>').replace('_', '_<wbr>')}</code>",
            )
            for line in self._lines
        ]
        table = html_table(("", "line", "chapter", "where", "its test"), rows)
        show(varies_text(str(self)), varies(table))


def checklist() -> Checklist:
    """Read the checklist from ``template/README.md``, its only source."""
    text = (template() / "README.md").read_text(encoding="utf-8")
    lines = []
    for row in _ROW.finditer(text):
        what, chapters, places, test = (cell.strip() for cell in row["cells"].split("|"))
        lines.append(
            Line(
                int(row["number"]),
                what.replace("`", ""),
                tuple(re.findall(r"\d\d", chapters)),
                tuple(_CODE.findall(places)),
                _CODE.findall(test)[0],
            )
        )
    return Checklist(lines)


def _link(chapter: str) -> str:
    found = sorted((workspace.project() / "chapters").glob(f"{chapter}_*.md"))
    return f'<a href="{escape(found[0].stem)}.ipynb">{chapter}</a>' if found else chapter
