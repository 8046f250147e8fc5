"""A new learner's way through the course: every chapter in a real browser, in order.

Each is opened in JupyterLab and run whole; its quizzes are answered wrong and then right; its
exercise is solved wrong and then right, with the keyboard. It takes a quarter of an hour or more,
so it runs only when it is asked for:

    CREWLAB_TEST=walk pytest -s tests/test_walk.py

It leaves photographs of every page in artifacts/walk. Look at them: no test sees what is ugly.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest

from crewlab.exercises import catalog
from tests import (
    test_chapter_01,
    test_chapter_02,
    test_chapter_03,
    test_chapter_04,
    test_chapter_05,
    test_chapter_06,
    test_chapter_07,
    test_chapter_08,
    test_chapter_09,
    test_chapter_10,
    test_chapter_11,
    test_chapter_12,
    test_chapter_13,
)
from tests.chapter_apps import ChapterApps
from tests.lab import ROOT, Lab, NotebookPage, browser_page, find_chromium, running_lab

SHOTS = ROOT / "artifacts" / "walk"
CELL_SECONDS = 300
CHAPTERS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="some chapters need a fork"),
    pytest.mark.timeout(1200),
]


@dataclass(frozen=True)
class Wrong:
    """A wrong answer to an exercise, as the chapter's own tests have it.

    Attributes:
        tag: the edition's app it starts from: "exercise" or "solution".
        changes: texts and what takes their place.
        told: what the check must say of it.
    """

    tag: str
    changes: tuple[tuple[str, str], ...]
    told: str


def wrong_answers() -> dict[str, Wrong]:
    """Take one wrong answer from the tests of each chapter that has an exercise."""
    of_03 = test_chapter_03.WRONG_ANSWERS["the process's memory"]
    tag_04, *changes_04 = test_chapter_04.WRONG_ANSWERS["the connection handed over"]
    of_08 = test_chapter_08.WRONG_ANSWERS["a pool left alone"]
    of_10 = test_chapter_10.WRONG_ANSWERS["the writer only"]
    found = {
        "03": Wrong(*of_03),
        "04": Wrong(
            str(tag_04),
            tuple(changes_04),  # type: ignore[arg-type]
            test_chapter_04.ADVICE["the connection handed over"],
        ),
        "08": Wrong(*of_08, test_chapter_08.ADVICE["a pool left alone"]),
        "10": Wrong("exercise", *of_10),
        "11": Wrong(
            "solution",
            test_chapter_11.WRONG_ANSWERS["kept by company"],
            test_chapter_11.SAID["kept by company"],
        ),
        "12": Wrong("solution", test_chapter_12.UNREPAIRS["09"], "8 of 9 causes are repaired"),
    }
    plain: dict[str, tuple[Any, Any, str]] = {
        "01": (test_chapter_01.WRONG_ANSWERS, test_chapter_01.ADVICE, "a retry"),
        "02": (test_chapter_02.WRONG_EXERCISES, test_chapter_02.SAYS, "not the blank"),
        "05": (test_chapter_05.WRONG_ANSWERS, test_chapter_05.ADVICE, "more retries"),
        "06": (test_chapter_06.WRONG_ANSWERS, test_chapter_06.ADVICE, "a lock"),
        "07": (test_chapter_07.WRONG_ANSWERS, test_chapter_07.ADVICE, "collects garbage"),
        "09": (
            test_chapter_09.WRONG_ANSWERS,
            test_chapter_09.ADVICE,
            "a look just before the charge",
        ),
        "13": (test_chapter_13.WRONG_ANSWERS, test_chapter_13.SAYS, "given back, without a key"),
    }
    for number, (answers, said, name) in plain.items():
        found[number] = Wrong("exercise", answers[name], said[name])
    return found


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Keep one JupyterLab for the whole walk, so that progress adds up as a learner's does."""
    if find_chromium() is None:
        pytest.fail("There is no Chromium to walk with: install the package called chromium.")
    with running_lab() as running:
        yield running


def answer_quizzes(shown: NotebookPage) -> None:
    """Answer each quiz wrong, read what that overlooks, and answer it right."""
    for cell in shown.cells():
        name = re.match(r"quiz\(\"([^\"]+)\"", cell["source"])
        if name is None:
            continue
        asked = catalog.quiz(name[1])
        wrong = next(n for n in range(1, len(asked.options) + 1) if n != asked.right)
        quiz = shown.element(cell["index"])
        for choice, verdict in ((wrong, f"Not {wrong}"), (asked.right, "Right, ")):
            quiz.get_by_role("radio").nth(choice - 1).check()
            quiz.get_by_role("button", name="Answer").click()
            quiz.get_by_role("status").filter(has_text=verdict).wait_for(timeout=30_000)


def check_says(shown: NotebookPage) -> str:
    """Give what the check shows, as it reads on the page."""
    return shown.text(shown.cell("check")["index"])


def solve(shown: NotebookPage, source: str) -> str:
    """Write an answer into the exercise, run it and its check, and give what the check says."""
    for tag in ("exercise", "check"):
        index = shown.cell(tag)["index"]
        if tag == "exercise":
            shown.rewrite(index, source)
        shown.run_cell(index, CELL_SECONDS)
    return check_says(shown)


def published_solution(notebook: Path) -> str:
    solved = nbformat.read(ROOT / "solutions" / notebook.name, as_version=4)
    [source] = [
        cell.source
        for cell in solved.cells
        if cell.cell_type == "code" and "solution" in cell.metadata.get("tags", [])
    ]
    return str(source)


def as_read(text: str) -> str:
    """Leave of a text what does not depend on where it stands: no marks, no capitals."""
    return text.replace("`", "").lower()


@pytest.mark.parametrize("notebook", CHAPTERS, ids=lambda path: path.stem[:2])
def test_a_learner_goes_through_the_chapter(lab: Lab, notebook: Path, tmp_path: Path) -> None:
    number = notebook.stem[:2]
    with browser_page() as page:
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        shown = NotebookPage(page, lab, f"notebooks/{notebook.name}")
        try:
            print(f"\n{number}: run whole in {shown.run_all(600):.0f} s")
            assert shown.errors() == []
            answer_quizzes(shown)
            if catalog.chapter(number).check is not None:
                assert "Not solved yet" in check_says(shown)
                name = shown.cell("exercise")["source"].split("\n")[0].removeprefix("%%app ")
                wrong = wrong_answers()[number]
                app = ChapterApps(number, tmp_path).changed(name, wrong.tag, *wrong.changes)

                said = solve(shown, f"%%app {name}\n{app.source}")
                print(f"{number}: {said}")
                shown.photograph(shown.cell("check")["index"], SHOTS / f"{number}-wrong.png")
                assert "Not solved yet" in said
                assert as_read(wrong.told) in as_read(said)

                said = solve(shown, published_solution(notebook))
                print(f"{number}: {said}")
                assert "Solved:" in said
            assert complaints == []
        finally:
            shown.screenshots(SHOTS, f"{number}-end")
            shown.shut_down()


def test_progress_in_chapter_00_tells_of_all_of_it(lab: Lab) -> None:
    exercises = [n for n in catalog.numbers() if catalog.chapter(n).check is not None]
    quizzes = sum(len(catalog.chapter(number).quizzes) for number in catalog.numbers())
    with browser_page() as page:
        shown = NotebookPage(page, lab, f"notebooks/{CHAPTERS[0].name}")
        try:
            shown.run_all(600)
            [index] = [c["index"] for c in shown.cells() if c["source"] == "progress()"]
            shown.photograph(index, SHOTS / "progress.png")
            assert (
                f"solved {len(exercises)} of {len(exercises)} exercises and answered "
                f"{quizzes} of {quizzes} quizzes right."
            ) in shown.text(index)
        finally:
            shown.shut_down()
