"""The chapters of this course: formatted, whole, and built."""

from __future__ import annotations

from pathlib import Path

import pytest

from crewlab.building import Project, find_stale, review
from crewlab.building.anatomy import text_problems
from crewlab.building.chapter import read_chapter

PROJECT = Project(Path(__file__).resolve().parent.parent)
NAMES = [path.stem for path in PROJECT.chapters()]


def test_there_are_chapters_numbered_without_a_gap() -> None:
    assert [int(name[:2]) for name in NAMES] == list(range(len(NAMES)))
    assert NAMES


def test_no_markdown_in_the_folder_is_overlooked_for_its_name() -> None:
    found = sorted(path.stem for path in (PROJECT.root / "chapters").glob("*.md"))
    assert [name for name in found if name != "README"] == NAMES


def test_the_code_the_parts_the_pictures_and_the_links_of_all_chapters_are_in_order() -> None:
    assert review(PROJECT) == []


def test_both_editions_are_what_the_chapters_make() -> None:
    assert find_stale(PROJECT) == []


def test_the_readmes_pictures_have_alt_text_and_its_links_lead_somewhere() -> None:
    text = (PROJECT.root / "README.md").read_text(encoding="utf-8")
    assert list(text_problems(text, [PROJECT.root])) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_chapter_keeps_to_the_few_cells_a_reader_can_follow(name: str) -> None:
    chapter = read_chapter(PROJECT.root / "chapters" / f"{name}.md")
    # What a reader has to read: not the buttons, nor what they write themselves, nor a line or two.
    light = {"setup", "quiz", "exercise", "solution", "check", "hint"}
    cells = [c for c in chapter.cells if c.kind == "code" and not light & {*c.tags}]
    assert len(cells) >= 2
    assert len([c for c in cells if c.source.strip().count("\n") >= 2]) <= 15
    long = [c.line for c in cells if not c.app_name and c.source.count("\n") >= 20]
    assert long == []
