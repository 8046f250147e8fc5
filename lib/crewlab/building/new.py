"""Starts a chapter: its text, its quizzes and check, and its tests, all running from the start."""

from __future__ import annotations

import re
from importlib import resources

from crewlab.building.errors import BuildError
from crewlab.building.project import Project, write_atomically

_NAME = re.compile(r"(?P<number>\d\d)_(?P<words>[a-z0-9]+(_[a-z0-9]+)*)")


def start_chapter(project: Project, name: str) -> list[str]:
    """Write the three files of a new chapter, a whole small one to be changed step by step.

    Args:
        project: the course.
        name: such as ``14_count_your_tokens``: two digits, then the cause in words.

    Returns:
        The files written, relative to the course's folder.

    Raises:
        BuildError: the name cannot be a chapter's, or its number is taken.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise BuildError(
            f"{name!r} cannot be a chapter's name.\n"
            "It is two digits and the cause in small words: 14_count_your_tokens."
        )
    number, title = match["number"], match["words"].replace("_", " ").capitalize()
    taken = [path.stem for path in project.chapters() if path.stem.startswith(number)]
    if taken or number == "00":
        last = project.chapters()[-1].stem[:2]
        raise BuildError(
            f"The number {number} is taken: {', '.join(taken) or 'chapter 00 starts the course'}.\n"
            f"The next free one is {int(last) + 1:02}."
        )
    words = {"number": number, "title": title, "title_small": title[0].lower() + title[1:]}
    files = {
        f"chapters/{name}.md": _fill("chapter.md", words),
        f"lib/crewlab/chapters/ch{number}.py": _template("chapter.py.txt").format(**words),
        f"tests/test_chapter_{number}.py": _template("test.py.txt").format(**words),
    }
    for path, text in files.items():
        write_atomically(project.root / path, text)
    return list(files)


def _template(name: str) -> str:
    return (resources.files("crewlab.building") / "new_chapter" / name).read_text(encoding="utf-8")


def _fill(name: str, words: dict[str, str]) -> str:
    """Fill a text in which braces stand for themselves: an app's ``{company}``."""
    text = _template(name)
    for word, value in words.items():
        text = text.replace(f"{{{word}}}", value)
    return text
