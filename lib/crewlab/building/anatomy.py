"""Check that a chapter has every part a learner expects, and that its links lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

from crewlab.building.chapter import Cell, Chapter
from crewlab.building.editions import LEFT_OUT
from crewlab.building.lint import Finding
from crewlab.building.project import LEARNER_FOLDER, SOLVED_FOLDER, Project

# The parts of a chapter about a cause, in order; "task" stands for the exercise in the
# learner's edition and for the solution in the solved one.
PARTS = (
    "setup",
    "quiz",
    "broken",
    "control",
    "broken-run",
    "fixed",
    "fixed-run",
    "task",
    "check",
    "quiz",
)
# Chapters that put the causes to use have no broken and fixed app of their own.
PRACTICE = range(10, 13)
PRACTICE_PARTS = ("setup", "quiz", "task", "check", "quiz")
TASK = {LEARNER_FOLDER: "exercise", SOLVED_FOLDER: "solution"}

_CODE_BLOCK = re.compile(r"^(?P<fence>`{3,}|~{3,}).*?^(?P=fence)[ \t]*$", re.DOTALL | re.MULTILINE)
_CODE_SPAN = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\(\s*<?(?P<target>[^)\s>]+)>?[^)]*\)")
_IMG = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
_ALT = re.compile(r"""\balt\s*=\s*["'][^"']*\S[^"']*["']""", re.IGNORECASE)
_ELSEWHERE = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def check_anatomy(chapter: Chapter) -> list[Finding]:
    """Find the parts a chapter lacks.

    Args:
        chapter: the chapter; one with a number below 1 only needs a title and its set-up.

    Returns:
        What is missing or out of place, for each edition.
    """
    findings = []
    first = chapter.cells[0] if chapter.cells else None
    if first is None or not first.source.startswith("# "):
        findings.append(Finding(chapter.path.name, 1, "the chapter does not start with a title"))
    for edition, left_out in LEFT_OUT.items():
        code = [c for c in chapter.cells if c.kind == "code" and left_out not in c.tags]
        findings += _check_edition(chapter, edition, code)
    if _count(chapter, "exercise") != _count(chapter, "solution"):
        message = (
            f"{_count(chapter, 'exercise')} exercise cells for "
            f"{_count(chapter, 'solution')} solution cells"
        )
        findings.append(Finding(chapter.path.name, 1, message))
    return sorted(set(findings))


def check_text(project: Project, chapter: Chapter) -> list[Finding]:
    """Find pictures that say nothing to a blind reader and links that lead nowhere.

    Args:
        project: the course, to see which files exist.
        chapter: the chapter. Its links are followed as from both editions' folders.

    Returns:
        What to repair.
    """
    findings = []
    for cell in chapter.cells:
        if cell.kind != "markdown":
            continue
        for line, message in text_problems(
            cell.source, [project.root / folder for folder in (LEARNER_FOLDER, SOLVED_FOLDER)]
        ):
            findings.append(Finding(chapter.path.name, cell.line + line - 1, message))
    return findings


def text_problems(text: str, folders: Sequence[Path]) -> Iterator[tuple[int, str]]:
    """Look through Markdown for pictures without alt text and links without a target.

    Args:
        text: the Markdown.
        folders: where relative links start; each must resolve from every one of them.

    Yields:
        The line, counted from 1, and what is wrong there.
    """
    # Code is blanked, not cut: the lines keep their numbers.
    prose = _CODE_BLOCK.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    prose = _CODE_SPAN.sub(lambda match: " " * len(match[0]), prose)
    for match in _IMG.finditer(prose):
        if not _ALT.search(match[0]):
            yield _line(prose, match), "a picture without alt text"
    for match in _LINK.finditer(prose):
        target = unquote(match["target"]).partition("#")[0]
        if match["picture"] and not match["text"].strip():
            yield _line(prose, match), f"the picture {match['target']} has no alt text"
        if not target or _ELSEWHERE.match(target) or target.startswith("attachment:"):
            continue
        for folder in folders:
            if not _leads_somewhere(folder, target):
                yield _line(prose, match), f"the link to {target} leads nowhere in {folder.name}/"


def _check_edition(chapter: Chapter, edition: str, code: Sequence[Cell]) -> Iterator[Finding]:
    name = chapter.path.name
    if not code or "setup" not in code[0].tags or "%load_ext crewlab" not in code[0].source:
        line = code[0].line if code else 1
        yield Finding(name, line, "the first code cell is not [setup] with %load_ext crewlab")
    if chapter.number < 1:
        return
    at = 0
    is_practice = chapter.number in PRACTICE
    for part in PRACTICE_PARTS if is_practice else PARTS:
        tag = TASK[edition] if part == "task" else part
        found = next((i for i, cell in enumerate(code[at:], at) if tag in cell.tags), None)
        if found is None:
            line = code[min(at, len(code) - 1)].line if code else 1
            yield Finding(name, line, f"no [{tag}] cell from here on, in the {edition} edition")
            return
        at = found + 1
    for cell in code:
        for tag in ("broken", "fixed"):
            if tag in cell.tags and cell.app_name is None:
                yield Finding(name, cell.line, f"a [{tag}] cell must start with %%app {tag}")
    runs = [cell for cell in code if "broken-run" in cell.tags]
    if not is_practice and not any(".expect(" in cell.source for cell in runs):
        yield Finding(
            name, runs[0].line, "no [broken-run] cell states what must be seen (run.expect)"
        )


def _leads_somewhere(folder: Path, target: str) -> bool:
    # A notebook that is not built yet will be, if it has a chapter.
    chapter = folder.parent / "chapters" / f"{Path(target).stem}.md"
    other_notebook = target.endswith(".ipynb") and "/" not in target
    return (folder / target).exists() or (other_notebook and chapter.is_file())


def _count(chapter: Chapter, tag: str) -> int:
    return sum(tag in cell.tags for cell in chapter.cells if cell.kind == "code")


def _line(text: str, match: re.Match[str]) -> int:
    return text.count("\n", 0, match.start()) + 1
