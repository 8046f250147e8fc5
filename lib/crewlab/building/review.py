"""Everything a chapter's text is checked for, in one call."""

from __future__ import annotations

from collections.abc import Sequence

from crewlab.building.anatomy import check_anatomy, check_text
from crewlab.building.chapter import Chapter, read_chapter
from crewlab.building.errors import BuildError
from crewlab.building.lint import Finding, format_chapters, lint
from crewlab.building.project import Project


def review(project: Project, names: Sequence[str] = ()) -> list[str]:
    """Check the text of chapters: their code, their parts, their pictures and links.

    Args:
        project: the course.
        names: chapters (see ``Project.select``); none means all.

    Returns:
        One line for each thing to repair, with its place first.

    Raises:
        BuildError: a name fits no chapter, a chapter cannot be read, or ruff is missing.
    """
    chapters = _read(project, names)
    findings: list[Finding] = []
    for chapter in chapters:
        findings += check_anatomy(chapter)
        findings += check_text(project, chapter)
    findings += lint(project, chapters)
    return [str(finding) for finding in sorted(set(findings))]


def format_code(project: Project, names: Sequence[str] = ()) -> list[str]:
    """Format the code cells inside the chapters' Markdown.

    Args:
        project: the course.
        names: chapters; none means all.

    Returns:
        The places of the cells that changed.

    Raises:
        BuildError: as for ``review``.
    """
    return format_chapters(project, _read(project, names))


def _read(project: Project, names: Sequence[str]) -> list[Chapter]:
    chapters, problems = [], []
    for path in project.select(names):
        try:
            chapters.append(read_chapter(path))
        except BuildError as problem:
            problems.append(str(problem))
    if problems:
        raise BuildError("\n\n".join(problems))
    return chapters
