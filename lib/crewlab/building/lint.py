"""Hold the code in chapters to the project's ruff settings, and name the line in the chapter.

ruff cannot read code inside Markdown. So each edition is written as a notebook and each
``%%app`` module as the file a server would import, into a temp folder, and what ruff finds
there is told with the chapter's own line numbers.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from crewlab.building.chapter import Cell, Chapter
from crewlab.building.editions import LEFT_OUT
from crewlab.building.errors import BuildError
from crewlab.building.project import Project, write_atomically
from crewlab.notebook.app_magic import COURSE_NAMES

# A notebook is read from top to bottom: imports come where they are needed, a cell may end
# in a bare expression or an await, and nothing in it is a documented module.
NOTEBOOK_IGNORES = "E402,D,S101,S106,B018,F704"
# An app shows what people really write; only its shape is held to the rules, its dummy keys are
# none, and the random part of a pause is no secret.
APP_IGNORES = "D,S106,S311"
# What `%load_ext crewlab` puts into a notebook.
COURSE_NAMES_CELL = "\n".join(f"{name} = ..." for name in COURSE_NAMES)


@dataclass(frozen=True, order=True)
class Finding:
    """One thing to repair in a chapter.

    Attributes:
        chapter: the Markdown file's name.
        line: its line, counted from 1.
        message: what is wrong, with the rule's code.
    """

    chapter: str
    line: int
    message: str

    def __str__(self) -> str:
        """Write the finding with its place first, where editors look for it."""
        return f"chapters/{self.chapter}:{self.line}: {self.message}"


def lint(project: Project, chapters: Sequence[Chapter]) -> list[Finding]:
    """Check every code cell and every app module.

    Args:
        project: the course; its ``pyproject.toml`` holds the rules.
        chapters: the chapters as read.

    Returns:
        What ruff's linter and formatter would change or refuse, and apps that import
        crewlab, in reading order and each once.

    Raises:
        BuildError: ruff is not installed or could not run.
    """
    with tempfile.TemporaryDirectory(prefix="crewlab-lint-") as name:
        tree = Path(name).resolve()
        notebooks, apps = _write_tree(tree, chapters)
        findings = _check(project, notebooks, NOTEBOOK_IGNORES)
        findings |= _check(project, apps, APP_IGNORES)
        findings |= {
            Finding(chapter.path.name, cell.line, "not formatted; run crewlab build --format")
            for chapter, cell, _ in _reformatted(project, tree, chapters)
        }
    findings |= {finding for chapter in chapters for finding in _importing_crewlab(chapter)}
    return sorted(findings)


def format_chapters(project: Project, chapters: Sequence[Chapter]) -> list[str]:
    """Let ruff's formatter rewrite the code cells inside the Markdown.

    Args:
        project: the course.
        chapters: the chapters as read.

    Returns:
        The places of the cells that changed.

    Raises:
        BuildError: ruff is not installed or could not run.
    """
    changed = []
    with tempfile.TemporaryDirectory(prefix="crewlab-lint-") as name:
        by_chapter: dict[Path, list[tuple[Cell, str]]] = {}
        for chapter, cell, source in _reformatted(project, Path(name).resolve(), chapters):
            by_chapter.setdefault(chapter.path, []).append((cell, source))
            changed.append(chapter.place(cell))
    for chapter in chapters:
        lines = chapter.text.splitlines()
        # From the end, so that a cell that grows does not move those still to come.
        for cell, source in reversed(by_chapter.get(chapter.path, [])):
            start = cell.line - 1
            lines[start : start + len(cell.source.splitlines())] = source.splitlines()
        if chapter.path in by_chapter:
            write_atomically(chapter.path, "\n".join(lines) + "\n")
    return changed


class _Extract:
    """A file made of cells, which knows the chapter's line of each of its own."""

    def __init__(self, chapter: Chapter) -> None:
        self.chapter = chapter
        self.starts: list[int] = []

    def line(self, cell_number: int | None, row: int) -> int:
        return self.starts[(cell_number or 1) - 1] + row - 1


def _write_tree(
    tree: Path, chapters: Sequence[Chapter]
) -> tuple[dict[Path, _Extract], dict[Path, _Extract]]:
    notebooks, apps = {}, {}
    for chapter in chapters:
        for edition, left_out in LEFT_OUT.items():
            extract, sources = _Extract(chapter), [COURSE_NAMES_CELL]
            extract.starts.append(1)
            for cell in _code_cells(chapter):
                if left_out not in cell.tags:
                    # What follows may use the name that the magic binds.
                    sources.append(f"{cell.app_name} = ..." if cell.app_name else cell.source)
                    extract.starts.append(cell.line)
            path = tree / edition / f"{chapter.name}.ipynb"
            _write(path, _as_notebook(sources))
            notebooks[path] = extract
        for cell in _code_cells(chapter):
            if cell.app_name:
                path = tree / "apps" / chapter.name / cell.id / f"{cell.app_name}.py"
                _write(path, cell.app_source)
                apps[path] = _Extract(chapter)
                apps[path].starts.append(cell.line + 1)
    return notebooks, apps


def _check(project: Project, files: Mapping[Path, _Extract], ignore: str) -> set[Finding]:
    if not files:
        return set()
    options = ["check", "--output-format", "json", "--no-cache", "--ignore", ignore]
    findings = set()
    for problem in json.loads(_ruff(project, options, files)):
        extract = files[Path(problem["filename"])]
        line = extract.line(problem["cell"], problem["location"]["row"])
        message = f"{problem['code']} {problem['message']}"
        findings.add(Finding(extract.chapter.path.name, line, message))
    return findings


def _reformatted(
    project: Project, tree: Path, chapters: Sequence[Chapter]
) -> list[tuple[Chapter, Cell, str]]:
    """Find the cells that the formatter would write differently, with the new text."""
    written: dict[Path, tuple[Chapter, Cell]] = {}
    for chapter in chapters:
        for cell in _code_cells(chapter):
            suffix, text = (
                (".py", cell.app_source)
                if cell.app_name
                else (".ipynb", _as_notebook([cell.source]))
            )
            path = tree / "cells" / chapter.name / f"{cell.id}{suffix}"
            _write(path, text)
            written[path] = (chapter, cell)
    if written:
        _ruff(project, ["format", "--no-cache", "--quiet"], written)
    changed = []
    for path, (chapter, cell) in written.items():
        text = path.read_text(encoding="utf-8")
        if cell.app_name:
            source = cell.source.partition("\n")[0] + "\n" + text.rstrip("\n")
        else:
            source = "".join(json.loads(text)["cells"][0]["source"])
        if source != cell.source:
            changed.append((chapter, cell, source))
    return changed


def _ruff(project: Project, options: Sequence[str], files: Iterable[Path]) -> str:
    config = ["--config", str(project.root / "pyproject.toml")]
    done = subprocess.run(  # noqa: S603 - our own arguments only
        [sys.executable, "-m", "ruff", *options, *config, *map(str, files)],
        cwd=project.root,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    if "No module named ruff" in done.stderr:
        raise BuildError(
            "ruff is not installed here, so the chapters' code cannot be checked.\n"
            "Install the test tools: pip install -e '.[test]'."
        )
    # The formatter refuses (2) what it cannot parse; the linter reports the same cell.
    if done.returncode not in (0, 1) and options[0] == "check":
        raise BuildError(f"ruff could not check the chapters: {done.stderr.strip()[-500:]}")
    return done.stdout


def _importing_crewlab(chapter: Chapter) -> Iterable[Finding]:
    for cell in _code_cells(chapter):
        if not cell.app_name:
            continue
        try:
            tree = ast.parse(cell.app_source)
        except SyntaxError:  # ruff names it
            continue
        for node in ast.walk(tree):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            if any(name.split(".")[0] == "crewlab" for name in names):
                line = cell.line + getattr(node, "lineno", 0)
                message = "an app must not import crewlab: it stands for code in production"
                yield Finding(chapter.path.name, line, message)


def _code_cells(chapter: Chapter) -> list[Cell]:
    return [cell for cell in chapter.cells if cell.kind == "code"]


def _as_notebook(sources: Sequence[str]) -> str:
    cells: list[dict[str, object]] = [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": f"cell-{number}",
            "metadata": {},
            "outputs": [],
            "source": source.splitlines(keepends=True),
        }
        for number, source in enumerate(sources)
    ]
    metadata = {"language_info": {"name": "python"}}
    return json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
