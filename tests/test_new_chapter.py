"""``crewlab new``: a chapter that runs from the start."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from crewlab.building import BuildError, review
from crewlab.building.new import start_chapter
from tests.courses import make_course
from tests.test_cli import ROOT


@pytest.mark.whole
def test_a_new_chapter_passes_its_review_builds_and_passes_its_own_tests(tmp_path: Path) -> None:
    course = tmp_path / "a course"
    for folder in ("lib", "tests", "chapters"):
        shutil.copytree(
            ROOT / folder, course / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    for file in ("pyproject.toml", "conftest.py"):
        shutil.copy(ROOT / file, course)

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=course,
            env={**os.environ, "PYTHONPATH": str(course / "lib")},
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    said = run("crewlab", "new", "77_count_your_tokens")
    assert "chapters/77_count_your_tokens.md: written" in said
    assert "solutions/77_count_your_tokens.ipynb: written" in run("crewlab", "build", "77")
    run("crewlab", "build", "--check", "77")
    some = "exercise or solution or complains or customers"
    tested = run(
        "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "tests/test_chapter_77.py",
        "-k", some,
    )  # fmt: skip
    assert "3 passed" in tested
    # The course's own rules for code hold for what it wrote, too.
    run("ruff", "check", "lib/crewlab/chapters/ch77.py", "tests/test_chapter_77.py")
    run("ruff", "format", "--check", "lib/crewlab/chapters/ch77.py", "tests/test_chapter_77.py")


@pytest.mark.parametrize("name", ["", "tokens", "1_x", "14-tokens", "14_Tokens", "14_", "../14_x"])
def test_a_name_that_is_none_is_refused_in_words(tmp_path: Path, name: str) -> None:
    with pytest.raises(BuildError, match="cannot be a chapter's name"):
        start_chapter(make_course(tmp_path), name)


def test_a_number_is_given_once(tmp_path: Path) -> None:
    course = make_course(tmp_path)
    start_chapter(course, "02_first")
    with pytest.raises(BuildError, match=r"02 is taken: 02_first\.\nThe next free one is 03"):
        start_chapter(course, "02_second")


def test_what_it_writes_has_every_part(tmp_path: Path) -> None:
    course = make_course(tmp_path)
    start_chapter(course, "02_first")
    findings = [finding for finding in review(course, ["02"]) if "leads nowhere" not in finding]
    assert findings == []
