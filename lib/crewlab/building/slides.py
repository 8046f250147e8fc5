"""Slides of a chapter for a class, made of its solved edition."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from crewlab.building.errors import BuildError
from crewlab.building.project import SOLVED_FOLDER, Project, write_atomically

# A class sees the task, not the answer; and nobody answers a quiz on a slide.
LEFT_OUT = frozenset({"solution", "check", "hint", "setup"})
_FENCE = re.compile(r"^\s*(`{3,}|~{3,})")


def make_slides(project: Project, chapter: Path, folder: Path) -> Path:
    """Write a chapter's slides as one HTML file.

    Each heading begins a slide; each code cell has one of its own below it, by its tag. The page
    takes reveal.js, and what loads it, from the addresses that nbconvert gives it: whoever shows
    the slides needs the network, whoever makes them does not.

    Args:
        project: the course.
        chapter: the chapter's Markdown file.
        folder: where to; made if missing.

    Returns:
        The file written.

    Raises:
        BuildError: the solved edition is missing or cannot be read.
    """
    import nbformat
    from nbconvert import SlidesExporter
    from traitlets.config import Config

    edition = project.notebook(chapter, SOLVED_FOLDER)
    try:
        notebook = nbformat.read(edition, nbformat.NO_CONVERT)
    except (OSError, ValueError) as problem:
        raise BuildError(
            f"{project.shown(edition)} cannot be read ({type(problem).__name__}).\n"
            f"Slides are made of it.\nRun: crewlab build {chapter.stem[:2]}"
        ) from problem
    notebook.cells = [slide for cell in notebook.cells for slide in _as_slides(cell)]
    settings = Config(
        SlidesExporter={"reveal_scroll": True, "reveal_theme": "white", "mathjax_url": ""}
    )
    html, _ = SlidesExporter(config=settings).from_notebook_node(
        notebook, {"metadata": {"name": chapter.stem}}
    )
    target = folder / f"{chapter.stem}.slides.html"
    write_atomically(target, html)
    return target


def _as_slides(cell: Any) -> list[Any]:
    """Make a slide, or several, of one cell; none of what a class does not see."""
    tags = set(cell.metadata.get("tags", ()))
    if tags & LEFT_OUT:
        return []
    if cell.cell_type != "markdown":
        return [_slide(cell, cell.id, cell.source, "subslide")]
    return [
        _slide(cell, f"{cell.id}-{part}", text, "slide" if text.startswith("#") else "subslide")
        for part, text in enumerate(split_at_headings(cell.source))
    ]


def _slide(cell: Any, name: str, source: str, kind: str) -> Any:
    from nbformat import from_dict

    metadata = {**cell.metadata, "slideshow": {"slide_type": kind}}
    return from_dict({**cell, "id": name, "source": source, "metadata": metadata})


def split_at_headings(text: str) -> list[str]:
    """Split Markdown before each heading, but not inside a code block.

    Args:
        text: the Markdown.

    Returns:
        The parts that are not empty, each but perhaps the first beginning with a heading.
    """
    parts: list[list[str]] = [[]]
    fence = ""
    for line in text.splitlines():
        if match := _FENCE.match(line):
            if not fence:
                fence = match[1]
            elif line.strip() == fence:
                fence = ""
        if not fence and line.startswith("#"):
            parts.append([])
        parts[-1].append(line)
    return [part for lines in parts if (part := "\n".join(lines).strip())]
