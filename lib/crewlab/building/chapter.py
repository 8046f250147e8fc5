"""Read a chapter: one MyST Markdown file becomes a list of cells that know their lines."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

from crewlab.building.errors import BuildError

# The vocabulary of tags. Anything else is a slip of the pen, and would go unnoticed:
# a tool that looks for `broken-run` never sees `broken_run`.
ANATOMY_TAGS = frozenset(
    {
        "setup",
        "quiz",
        "broken",
        "control",
        "broken-run",
        "fixed",
        "fixed-run",
        "exercise",
        "solution",
        "check",
        "hint",
    }
)
TOOL_TAGS = frozenset({"raises-exception", "nbval-ignore-output", "hide-input", "hide-output"})

_FENCE = re.compile(r"^\s*(`{3,}|~{3,})\s*\{\s*code[-_ ]?cell", re.IGNORECASE)
_APP_MAGIC = re.compile(r"^%%app\s+(?P<name>[A-Za-z_]\w*)[^\n]*(?:\n|$)")


@dataclass(frozen=True)
class Cell:
    """One cell of a chapter, before the editions are made.

    Attributes:
        id: the same in both editions and in every build.
        kind: ``"code"`` or ``"markdown"``.
        source: the text without fences and options.
        tags: as written, in order.
        line: the line of the Markdown file where the text starts, counted from 1.
    """

    id: str
    kind: str
    source: str
    tags: tuple[str, ...]
    line: int

    @property
    def app_name(self) -> str | None:
        """The app a ``%%app NAME`` cell writes, else None."""
        match = _APP_MAGIC.match(self.source)
        return match["name"] if match else None

    @property
    def app_source(self) -> str:
        """The body of a ``%%app`` cell: the module a server would import."""
        return self.source.partition("\n")[2] + "\n"


@dataclass(frozen=True)
class Chapter:
    """A chapter as its author wrote it.

    Attributes:
        path: the Markdown file.
        cells: every cell of both editions, in order.
        text: the whole file.
    """

    path: Path
    cells: tuple[Cell, ...]
    text: str

    @property
    def name(self) -> str:
        """The file's name without its ending, for example ``01_shared_crew``."""
        return self.path.stem

    @property
    def number(self) -> int:
        """The two digits at the front."""
        return int(self.name[:2])

    def place(self, cell: Cell) -> str:
        """Say where a cell is, the way editors and terminals understand it."""
        return f"chapters/{self.path.name}:{cell.line}"


def read_chapter(path: Path) -> Chapter:
    """Split a chapter into cells.

    Args:
        path: a Markdown file with ``{code-cell}`` fences (MyST, as jupytext reads it).

    Returns:
        The chapter.

    Raises:
        BuildError: the file cannot be read as cells, a fence would be shown as text
            instead of run, or a tag is not part of the vocabulary.
    """
    # Imported late: `crewlab build` on an unchanged tree must not pay for it.
    from jupytext.myst import myst_to_notebook

    text = path.read_text(encoding="utf-8").replace("\r\n", "\n")
    where = f"chapters/{path.name}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            notebook = myst_to_notebook(text, add_source_map=True)
    except Exception as problem:  # YAML, JSON and MyST each raise errors of their own
        raise BuildError(
            f"{where} cannot be split into cells: {_one_line(problem)}\n"
            "Look at the options under the fence or the +++ line it names."
        ) from problem
    lines = text.splitlines()
    cells = tuple(
        _cell(path, index, cell, lines, start)
        for index, (cell, start) in enumerate(
            zip(notebook.cells, notebook.metadata["source_map"], strict=True)
        )
    )
    _refuse_lost_fences(where, lines, cells)
    return Chapter(path, cells, text)


def _cell(path: Path, index: int, cell: object, lines: list[str], start: int) -> Cell:
    kind, source = cell.cell_type, cell.source  # type: ignore[attr-defined]
    tags = cell.metadata.get("tags", [])  # type: ignore[attr-defined]
    line = _first_line(source, lines, start)
    place = f"chapters/{path.name}:{line}"
    unknown = [tag for tag in tags if tag not in ANATOMY_TAGS | TOOL_TAGS]
    if unknown:
        raise BuildError(
            f"{place}: the tag {unknown[0]!r} means nothing to the course.\n"
            f"The tags are: {', '.join(sorted(ANATOMY_TAGS | TOOL_TAGS))}."
        )
    return Cell(f"ch{path.stem[:2]}-{index:03d}", kind, source, tuple(tags), line)


def _first_line(source: str, lines: list[str], start: int) -> int:
    body = source.splitlines()
    for offset in range(start, len(lines)):
        if lines[offset : offset + len(body)] == body:
            return offset + 1
    return start + 1


def _refuse_lost_fences(where: str, lines: list[str], cells: tuple[Cell, ...]) -> None:
    """Name a fence that would be shown as text: one in a list, or a misspelt one."""
    starts = sorted(cell.line for cell in cells if cell.kind == "code")
    fences = [number for number, line in enumerate(lines, 1) if _FENCE.match(line)]
    if len(fences) == len(starts):
        return
    inside = iter(starts)
    following = next(inside, None)
    for position, fence in enumerate(fences):
        end = fences[position + 1] if position + 1 < len(fences) else len(lines) + 1
        if following is None or not fence < following <= end:
            raise BuildError(
                f"{where}:{fence}: this code cell would be shown as text, not run.\n"
                "Start the fence at the margin, outside lists, as ```{code-cell} ipython3."
            )
        following = next(inside, None)


def _one_line(problem: BaseException) -> str:
    return " ".join(str(problem).split()) or type(problem).__name__
