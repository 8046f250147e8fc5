"""The pages for teachers and contributors say what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crewlab.building import Project
from crewlab.building.anatomy import text_problems
from tests.test_cli import ROOT

PAGES = ("README.md", "TEACHING.md", "CONTRIBUTING.md", "GLOSSARY.md", "LOGS.md")
COMMAND = re.compile(r"(?:^|`)crewlab (?P<name>[a-z]+)", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_somewhere_and_every_picture_has_words(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert list(text_problems(text, [ROOT])) == []


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_exists(page: str) -> None:
    from crewlab.cli import app

    known = {command.name or command.callback.__name__ for command in app.registered_commands}  # type: ignore[union-attr]
    text = (ROOT / page).read_text(encoding="utf-8")
    assert {match["name"] for match in COMMAND.finditer(text)} <= known


def test_the_minutes_of_each_plan_add_up() -> None:
    text = (ROOT / "TEACHING.md").read_text(encoding="utf-8")
    plans = re.split(r"^### ", text.partition("## Chapter by chapter")[0], flags=re.MULTILINE)[1:]
    sums = {
        plan.splitlines()[0]: sum(map(int, re.findall(r"^\| (\d+) \|", plan, re.MULTILINE)))
        for plan in plans
    }
    limits = {"90": (90, 90), "Ha": (210, 240), "A ": (390, 480)}
    assert len(sums) == 3
    for title, minutes in sums.items():
        least, most = limits[title[:2]]
        assert least <= minutes <= most, (title, minutes)


@pytest.mark.parametrize("chapter", Project.find().chapters(), ids=lambda path: path.stem)
def test_each_chapter_is_in_the_map_of_the_readme_and_has_advice_for_teachers(
    chapter: Path,
) -> None:
    assert f"notebooks/{chapter.stem}.ipynb" in (ROOT / "README.md").read_text(encoding="utf-8")
    teaching = (ROOT / "TEACHING.md").read_text(encoding="utf-8")
    advice = teaching.partition("## Chapter by chapter")[2]
    assert f"\n| {chapter.stem[:2]} |" in advice


@pytest.mark.parametrize("chapter", Project.find().chapters(), ids=lambda path: path.stem)
def test_each_chapter_leads_to_the_one_before_and_the_one_after_it(chapter: Path) -> None:
    chapters = Project.find().chapters()
    at = chapters.index(chapter)
    last = chapter.read_text(encoding="utf-8").rpartition("\n---\n")[2]
    linked = re.findall(r"\]\((\w+)\.ipynb\)", last)
    around = [path.stem for path in (*chapters[max(at - 1, 0) : at], *chapters[at + 1 : at + 2])]
    assert linked == around


def test_the_contributors_table_names_tests_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d\d) \| (.+) \|$", text, re.MULTILINE)
    assert [number for number, _ in rows] == [
        path.stem[:2]
        for path in Project.find().chapters()
        if path.stem[:2] not in ("00", "10", "11", "12")
    ]
    for number, names in rows:
        source = (ROOT / "tests" / f"test_chapter_{number}.py").read_text(encoding="utf-8")
        for name in re.findall(r"`(\w+?)(?:_?\.\.\.)?`", names):
            assert f"def {name}" in source, name
