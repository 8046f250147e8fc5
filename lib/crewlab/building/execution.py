"""Run a solved edition and keep what its cells show, if it may be kept."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crewlab.building.chapter import Cell, Chapter
from crewlab.building.editions import notebook_metadata
from crewlab.building.errors import BuildError
from crewlab.building.kernel import CELL_SECONDS, private_rooms, this_python

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
# A path begins with / or ~ or C:\, so the colour code before it (``ESC[32m``) is left alone.
_LIBRARY_FOLDER = re.compile(
    r"(?:[A-Za-z]:\\|[/~])[^\"'\x1b\n]*?[\\/]"
    r"(?:site-packages|lib[\\/]python3\.\d+(?![\\/]site-packages))[\\/]"
)
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def execute(notebook: Any, chapter: Chapter, folder: Path) -> None:
    """Run every cell in a fresh kernel and store the outputs in the notebook.

    The kernel works in ``folder``, with a home, a temp folder and settings of its own:
    the author's progress, start-up files and leftovers neither count nor change.

    Args:
        notebook: an edition made by ``make_edition``; changed in place.
        chapter: its chapter, to say where a failing cell is.
        folder: the kernel's working folder.

    Raises:
        BuildError: a cell raised or hung, or shows something of this machine.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    folder.mkdir(parents=True, exist_ok=True)
    with private_rooms() as (environment, rooms):
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            kernel_manager_class=this_python(),
            timeout=CELL_SECONDS,
            resources={"metadata": {"path": str(folder)}},
            record_timing=False,
            store_widget_state=False,
            coalesce_streams=True,
        )
        running = _Running(chapter)
        client.on_cell_start = running.note
        try:
            client.execute(env=environment, stderr=subprocess.DEVNULL)
        except CellTimeoutError as problem:
            raise running.failure(
                f"did not finish within {CELL_SECONDS} s", "Make it faster, or cut it off earlier."
            ) from problem
        except CellExecutionError as problem:
            raise running.failure(
                f"raised {problem.ename}: {_last_line(problem.evalue)}",
                "Repair the cell, or tag it raises-exception if that error is the lesson.",
                _ANSI.sub("", problem.traceback),
            ) from problem
        except DeadKernelError as problem:
            raise running.failure(
                "killed its kernel", "Look for os._exit, a crash in C, or memory running out."
            ) from problem
        tidy_outputs(notebook)
        notebook.metadata = notebook_metadata(chapter)
        refuse_private_outputs(notebook, chapter, {"the build's temp folder": rooms})
    _refuse_silent_errors(notebook, chapter)


def tidy_outputs(notebook: Any) -> None:
    """Drop what only a live kernel can show, and number the cells from one.

    A widget is nothing without its kernel: the view is dropped and the picture and the
    table shown beside it stay. Tracebacks lose the folders of this machine.

    Args:
        notebook: an executed notebook; changed in place.
    """
    count = 0
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.metadata.pop("execution", None)
        count += 1
        cell.execution_count = count
        cell.outputs = without_widget_views(cell.outputs)
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
            if output.output_type == "error":
                output.traceback = [_without_folders(line) for line in output.traceback]
    notebook.metadata.pop("widgets", None)


def without_widget_views(outputs: Any) -> list[Any]:
    """Keep what a reader without a kernel can see.

    Args:
        outputs: a cell's outputs; changed in place.

    Returns:
        The outputs without their live views; a view with no more than its name in plain text
        beside it goes altogether, one that brings HTML or a picture leaves these.
    """
    kept = []
    for output in outputs:
        data = output.get("data", {})
        if data.pop(WIDGET_VIEW, None) is None or set(data) - {"text/plain"}:
            kept.append(output)
    return kept


def refuse_private_outputs(
    notebook: Any, chapter: Chapter, more: Mapping[str, Path] | None = None
) -> None:
    """Make sure that no output tells where the author works.

    Args:
        notebook: an executed notebook.
        chapter: its chapter.
        more: further folders that must not be seen, by what they are.

    Raises:
        BuildError: an output names the project's folder, the author's home or one of ``more``.
    """
    folders = {
        "the project's folder": chapter.path.parents[1],
        "crewlab's folder": Path(__file__).resolve().parents[2],
        "Python's folder": Path(sys.prefix),
        "your home folder": Path.home(),
    }
    places = _spellings({**folders, **(more or {})})
    cells = {cell.id: cell for cell in chapter.cells}
    for cell in notebook.cells:
        outputs = json.dumps(cell.get("outputs", []), ensure_ascii=False)
        for spelling, what in places.items():
            match = re.search(re.escape(spelling) + r"(?![\w.-])", outputs)
            if match:
                excerpt = outputs[max(match.start() - 40, 0) : match.end() + 40]
                raise BuildError(
                    f"{chapter.place(cells[cell.id])}: an output of this cell shows {what}:\n"
                    f"... {excerpt} ...\n"
                    "Show a relative path or only the file's name: it differs on each machine."
                )


class _Running:
    """Remembers which cell runs, because nbclient's errors only carry its text."""

    def __init__(self, chapter: Chapter) -> None:
        self.chapter = chapter
        self.cells = {cell.id: cell for cell in chapter.cells}
        self.cell: Cell | None = None
        self.position = 0

    def note(self, cell: Any, cell_index: int) -> None:
        self.cell = self.cells.get(cell.id)
        self.position = cell_index

    def failure(self, what: str, advice: str, traceback: str = "") -> BuildError:
        place = self.chapter.place(self.cell) if self.cell else self.chapter.path.name
        line = _failing_line(self.cell, traceback)
        if line is not None and self.cell:
            place = f"chapters/{self.chapter.path.name}:{line}"
        tags = f" [{' '.join(self.cell.tags)}]" if self.cell and self.cell.tags else ""
        return BuildError(
            f"{place}: the solved edition's cell {self.position}{tags} {what}.\n{advice}"
        )


def _failing_line(cell: Cell | None, traceback: str) -> int | None:
    """Find the line of the Markdown file that raised, from IPython's ``Cell In[3], line 2``."""
    match = re.search(r"(?:Cell|Input) In ?\[\d+\],? line:? ?(\d+)", traceback)
    return cell.line + int(match[1]) - 1 if cell and match else None


def _last_line(text: str) -> str:
    lines = [line.strip() for line in _ANSI.sub("", text).splitlines() if line.strip()]
    return lines[0] if lines else "(no message)"


def _refuse_silent_errors(notebook: Any, chapter: Chapter) -> None:
    cells = {cell.id: cell for cell in chapter.cells}
    for cell in notebook.cells:
        if cell.cell_type != "code" or "raises-exception" not in cells[cell.id].tags:
            continue
        if not any(output.output_type == "error" for output in cell.outputs):
            raise BuildError(
                f"{chapter.place(cells[cell.id])}: tagged raises-exception, but raised nothing.\n"
                "Either the lesson no longer holds, or the tag is a leftover."
            )


def _without_folders(line: str) -> str:
    """Shorten ``/home/me/x/site-packages/crewai/crew.py`` to ``crewai/crew.py``."""
    return _LIBRARY_FOLDER.sub("", line)


def _spellings(folders: Mapping[str, Path]) -> dict[str, str]:
    """Map every way a folder may be written in JSON to what it is."""
    spellings = {}
    for what, folder in folders.items():
        if len(folder.parts) < 2:  # "/" alone is everywhere
            continue
        plain = str(folder)
        for spelling in {plain, folder.as_posix(), json.dumps(plain)[1:-1]}:
            spellings[spelling] = what
            spellings[json.dumps(spelling)[1:-1]] = what
    return spellings
