"""The map from log lines to chapters, and ``crewlab explain``."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from crewlab import log_map
from crewlab.building import Project
from crewlab.building.chapter import read_chapter
from crewlab.exercises import catalog
from tests.test_cli import ROOT, crewlab

CAUSES = [number for number in catalog.numbers() if "01" <= number <= "09"]


def expected_errors() -> Iterator[tuple[str, str]]:
    """Give each error text that a cell of a chapter says must be seen."""
    for path in Project.find().chapters():
        for cell in read_chapter(path).cells:
            if cell.kind != "code" or cell.app_name or cell.source.startswith("%"):
                continue
            for node in ast.walk(ast.parse(cell.source)):
                if isinstance(node, ast.keyword) and node.arg == "error":
                    text = ast.literal_eval(node.value)
                    if text:
                        yield path.stem[:2], text


@pytest.mark.parametrize(("chapter", "text"), sorted(set(expected_errors())))
def test_every_error_of_a_chapter_leads_back_to_it(chapter: str, text: str) -> None:
    assert chapter in [one.chapter for one in log_map.explain(text)]


@pytest.mark.parametrize("number", CAUSES)
def test_every_chapter_about_a_cause_explains_log_lines(number: str) -> None:
    lines = catalog.chapter(number).logs
    assert lines
    for line in lines:
        found = log_map.explain(f"14:02:07 report-3 ERROR {line.text} [request 4711]")
        assert (number, line) in [(one.chapter, one.line) for one in found]


def test_a_whole_traceback_is_explained() -> None:
    [first, *_] = log_map.explain(
        "Traceback (most recent call last):\n"
        '  File "app.py", line 3, in run\n'
        "RuntimeError: Executor is already running. Cannot invoke the same executor instance"
        " concurrently."
    )
    assert first.chapter == "01"


@pytest.mark.parametrize("text", ["", "   ", "zebra crossing", "error in file at line"])
def test_what_no_chapter_explains_is_not_explained(text: str) -> None:
    assert log_map.explain(text) == []


def test_the_command_names_the_cause_and_the_chapter() -> None:
    done = crewlab("explain", "Executor is already running")
    assert done.returncode == 0
    assert "Two requests of one process met" in done.stdout
    assert "-> 01 Build crews inside functions" in done.stdout


def test_the_command_says_what_to_do_about_an_unknown_line() -> None:
    done = crewlab("explain", "zebra", "crossing")
    assert done.returncode == 1
    assert "LOGS.md" in done.stdout
    assert len(done.stdout.splitlines()) == 3


def test_the_page_lists_what_the_chapters_explain_today() -> None:
    assert (ROOT / "LOGS.md").read_text(encoding="utf-8") == log_map.as_markdown()
