"""Small courses of their own for tests of the builder."""

from __future__ import annotations

import shutil
from pathlib import Path

from crewlab.building import Project

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "tests" / "data" / "01_sample.md"


def make_course(folder: Path, **chapters: str) -> Project:
    """Make a course with this project's rules.

    Args:
        folder: where; made if missing.
        chapters: the text of each chapter by its name with an underscore in front, such as
            ``_02_x``; without any, the sample chapter.
    """
    (folder / "chapters").mkdir(parents=True)
    shutil.copy(ROOT / "pyproject.toml", folder)
    if not chapters:
        shutil.copy(SAMPLE, folder / "chapters")
    for name, text in chapters.items():
        write_chapter(folder, name.removeprefix("_"), text)
    return Project(folder)


def write_chapter(folder: Path, name: str, text: str) -> Path:
    """Write ``chapters/NAME.md``."""
    path = folder / "chapters" / f"{name}.md"
    path.write_text(text, encoding="utf-8", newline="\n")
    return path


def code(source: str, *tags: str) -> str:
    """Write a code cell as MyST."""
    options = f":tags: [{', '.join(tags)}]\n\n" if tags else ""
    return f"```{{code-cell}} ipython3\n{options}{source}\n```\n"
