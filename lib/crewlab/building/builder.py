"""Bring the editions up to date with their chapters, or say which are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crewlab.building.chapter import Chapter, read_chapter
from crewlab.building.editions import make_edition, to_text, without_outputs
from crewlab.building.errors import BuildError
from crewlab.building.execution import execute, refuse_private_outputs
from crewlab.building.project import (
    LEARNER_FOLDER,
    SOLVED_FOLDER,
    Project,
    Stamp,
    write_atomically,
)


@dataclass(frozen=True)
class Built:
    """What a build did.

    Attributes:
        written: editions written, as shown to the author.
        failures: what went wrong, one text a chapter.
    """

    written: tuple[str, ...]
    failures: tuple[str, ...]


def build(
    project: Project,
    names: Sequence[str] = (),
    *,
    force: bool = False,
    run_cells: bool = True,
    say: Callable[[str], None] = print,
) -> Built:
    """Rebuild the editions whose chapter changed since they were built.

    A chapter that fails leaves both its editions as they were; the others are still built.

    Args:
        project: the course.
        names: chapters to build (see ``Project.select``); none means all.
        force: rebuild and run these chapters even if nothing changed.
        run_cells: False writes the learner's edition only, without running anything.
        say: told each step, one line each.

    Returns:
        What was written and what failed.

    Raises:
        BuildError: a name fits no chapter.
    """
    written: list[str] = []
    failures: list[str] = []
    for path in project.select(names):
        stale = [
            folder
            for folder in (LEARNER_FOLDER, SOLVED_FOLDER)
            if force or not _has_its_stamp(project.notebook(path, folder), path)
        ]
        if not run_cells and SOLVED_FOLDER in stale:
            stale.remove(SOLVED_FOLDER)
        if not stale:
            continue
        try:
            written += _build_chapter(project, read_chapter(path), stale, force, say)
        except BuildError as problem:
            failures.append(str(problem))
    failures += [_orphan(project, path) for path in project.orphans()]
    return Built(tuple(written), tuple(failures))


def find_stale(project: Project, names: Sequence[str] = ()) -> list[str]:
    """Regenerate both editions in memory and compare them with the files.

    Args:
        project: the course.
        names: chapters to look at; none means all, and the orphans.

    Returns:
        One text for each edition that is not what its chapter makes; empty when all are.

    Raises:
        BuildError: a name fits no chapter.
    """
    findings: list[str] = []
    for path in project.select(names):
        try:
            chapter = read_chapter(path)
            for folder, look in (
                (LEARNER_FOLDER, _learner_difference),
                (SOLVED_FOLDER, _solved_difference),
            ):
                edition = project.notebook(path, folder)
                difference = look(edition, chapter)
                if difference:
                    findings.append(
                        f"{project.shown(edition)} is stale: {difference}.\n"
                        f"Run: crewlab build {'--force ' if _has_its_stamp(edition, path) else ''}"
                        f"{path.stem}"
                    )
        except BuildError as problem:
            findings.append(str(problem))
    if not names:
        findings += [_orphan(project, path) for path in project.orphans()]
    return findings


def _build_chapter(
    project: Project, chapter: Chapter, stale: list[str], force: bool, say: Callable[[str], None]
) -> list[str]:
    texts: dict[Path, str] = {}
    for folder in stale:
        notebook = make_edition(chapter, folder)
        edition = project.notebook(chapter.path, folder)
        if folder == SOLVED_FOLDER:
            if not force and _take_outputs(notebook, edition):
                say(f"{project.shown(edition)}: no code changed, its outputs are kept")
                refuse_private_outputs(notebook, chapter)
            else:
                say(f"{project.shown(edition)}: running its cells ...")
                execute(notebook, chapter, edition.parent)
        texts[edition] = to_text(notebook)
    for edition, text in texts.items():
        write_atomically(edition, text)
        say(f"{project.shown(edition)}: written")
    return [project.shown(edition) for edition in texts]


def _take_outputs(notebook: Any, edition: Path) -> bool:
    """Move the outputs over from the file if the same code, showing the same files, made them."""
    old = _read(edition)
    if old is None or _shown(old) != _shown(notebook):
        return False
    old_cells = [cell for cell in old.cells if cell.cell_type == "code"]
    new_cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if [_code(cell) for cell in old_cells] != [_code(cell) for cell in new_cells]:
        return False
    if _unfinished(old):
        return False
    for old_cell, new_cell in zip(old_cells, new_cells, strict=True):
        new_cell.outputs = old_cell.outputs
        new_cell.execution_count = old_cell.execution_count
    return True


def _learner_difference(edition: Path, chapter: Chapter) -> str | None:
    if not edition.is_file():
        return "it does not exist"
    if edition.read_text(encoding="utf-8") != to_text(make_edition(chapter, LEARNER_FOLDER)):
        return "it is not what its chapter makes"
    return None


def _solved_difference(edition: Path, chapter: Chapter) -> str | None:
    if not edition.is_file():
        return "it does not exist"
    notebook = _read(edition)
    if notebook is None:
        return "it is not a notebook"
    if edition.read_text(encoding="utf-8") != to_text(notebook):
        return "it was written by another tool"
    if to_text(without_outputs(notebook)) != to_text(make_edition(chapter, SOLVED_FOLDER)):
        return "it is not what its chapter makes"
    refuse_private_outputs(notebook, chapter)
    return _unfinished(notebook)


def _unfinished(notebook: Any) -> str | None:
    """Say what a finished run would have left that is not there."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for position, cell in enumerate(code, 1):
        if cell.execution_count != position:
            return f"its code cell {position} was not run in order"
        raised = any(output.output_type == "error" for output in cell.outputs)
        expected = "raises-exception" in cell.metadata.get("tags", [])
        if raised != expected:
            return f"its code cell {position} {'raised' if raised else 'should raise'}"
    if code and not any(cell.outputs for cell in code):
        return "it has no outputs"
    return None


def _read(edition: Path) -> Any | None:
    import nbformat

    try:
        # nbformat.read would only log that a notebook is not one.
        notebook = nbformat.v4.reads(edition.read_text(encoding="utf-8"))
        nbformat.validate(notebook)
    except (OSError, ValueError, AttributeError, TypeError, nbformat.ValidationError):
        return None
    return notebook


def _shown(notebook: Any) -> str | None:
    digest: str | None = notebook.metadata.get("crewlab", {}).get("shown_sha256")
    return digest


def _code(cell: Any) -> tuple[str, tuple[str, ...]]:
    return cell.source, tuple(cell.metadata.get("tags", ()))


def _has_its_stamp(edition: Path, chapter: Path) -> bool:
    return Stamp.recorded_in(edition) == Stamp.of(chapter)


def _orphan(project: Project, path: Path) -> str:
    return (
        f"{project.shown(path)} has no chapter: chapters/{path.stem}.md does not exist.\n"
        "Delete the notebook, or bring its chapter back."
    )
