"""Slides for a class, made of the solved editions."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from crewlab.building import BuildError, Project
from crewlab.building.slides import LEFT_OUT, make_slides, split_at_headings
from tests.courses import make_course

COURSE = Project.find()


@pytest.mark.parametrize("chapter", COURSE.chapters(), ids=lambda path: path.stem)
def test_each_chapter_makes_slides_with_its_results_and_without_its_solution(
    tmp_path: Path, chapter: Path
) -> None:
    html = make_slides(COURSE, chapter, tmp_path / "slides").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", chapter.read_text(encoding="utf-8"), re.MULTILINE)
    assert html.count("<section>") > len(headings)
    assert "data:image/png;base64" in html
    cells = nbformat.read(COURSE.notebook(chapter, "solutions"), nbformat.NO_CONVERT).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    shown = {cell.id for cell in code if not LEFT_OUT & set(cell.metadata.get("tags", ()))}
    assert {cell.id for cell in code if f"cell-id={cell.id}" in html} == shown


def test_a_chapter_that_is_not_built_is_named_with_what_to_do(tmp_path: Path) -> None:
    course = make_course(tmp_path)
    with pytest.raises(BuildError, match="Run: crewlab build 01"):
        make_slides(course, course.chapters()[0], tmp_path)


def test_a_slide_begins_at_each_heading_but_not_inside_code() -> None:
    text = "# Title\n\nwords\n\n```text\n# a comment\n```\n\n## Part\n### Below\nmore"
    assert split_at_headings(text) == [
        "# Title\n\nwords\n\n```text\n# a comment\n```",
        "## Part",
        "### Below\nmore",
    ]
