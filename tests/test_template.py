"""The take-home service: it stands on its own, and each line of its checklist has a test."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crewlab.errors import ToldValueError
from crewlab.takehome import checklist, part
from crewlab.takehome.checklist import Line, template
from crewlab.takehome.removals import REMOVALS, Edit
from crewlab.takehome.trial import (
    NothingTested,
    TakenAway,
    copy_template,
    run_tests,
    take_each_away,
)
from tests.whole import WHOLE

# The whole run starts servers, each of whose workers imports CrewAI.
pytestmark = pytest.mark.timeout(900)

LINES = list(checklist())
TRIED = [line.number for line in LINES if WHOLE or line.number == 10]
IDS = [f"line-{line.number}" for line in LINES]


def test_the_checklist_has_fourteen_lines() -> None:
    assert [line.number for line in LINES] == list(range(1, 15))


@pytest.mark.parametrize("line", LINES, ids=IDS)
def test_a_line_names_its_chapters_its_place_and_a_test_that_is_there(line: Line) -> None:
    assert line.chapters
    assert set(line.chapters) <= {f"{number:02}" for number in range(1, 11)}
    for place in line.places:
        file, _, name = place.partition(": ")
        assert part(file, name or None).source
    file, _, test = line.test.partition("::")
    tree = ast.parse((template() / "tests" / file).read_text(encoding="utf-8"))
    assert test in {getattr(node, "name", None) for node in tree.body}


@pytest.mark.parametrize("line", LINES, ids=IDS)
def test_a_line_can_be_taken_away_and_leaves_valid_python(line: Line, tmp_path: Path) -> None:
    folder = copy_template(tmp_path / "copy", REMOVALS[line.number])
    for edit in REMOVALS[line.number]:
        ast.parse((folder / "service" / edit.file).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def taken_away() -> dict[int, TakenAway]:
    """Take each line away once; in the usual run only the one that the chapter shows."""
    return {result.line.number: result for result in take_each_away(TRIED)}


@pytest.mark.parametrize("number", TRIED)
def test_a_lines_test_passes_with_it_and_fails_without(
    taken_away: dict[int, TakenAway], number: int
) -> None:
    result = taken_away[number]
    assert result.noticed, str(result)
    assert all(result.line.test in name for name in result.after.failed)


def test_taking_a_line_away_says_what_was_edited_and_what_the_test_said(
    taken_away: dict[int, TakenAway],
) -> None:
    text = str(taken_away[10])
    assert '- IfNoneMatch="*",' in text
    assert "with the edit above: FAILED" in text
    assert "'second' == 'first'" in text


def test_taking_lines_away_leaves_the_template_as_it_is(taken_away: dict[int, TakenAway]) -> None:
    for edits in REMOVALS.values():
        for edit in edits:
            assert edit.old in (template() / "service" / edit.file).read_text(encoding="utf-8")


def test_an_edit_that_does_not_fit_any_more_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="0 times"):
        copy_template(tmp_path / "copy", [Edit("app.py", "no such text", "")])


def test_a_test_that_is_not_there_does_not_count_as_failed(tmp_path: Path) -> None:
    folder = copy_template(tmp_path / "copy")
    with pytest.raises(NothingTested):
        run_tests([(folder, ["tests/test_jobs_and_reports.py::test_nothing"])])


def test_a_line_or_a_part_that_is_not_there_is_told() -> None:
    with pytest.raises(ToldValueError, match="its lines are 1 to 14"):
        checklist().line(15)
    with pytest.raises(ToldValueError, match="no file"):
        part("nothing.py")
    with pytest.raises(ToldValueError, match="has no 'nothing'"):
        part("desk.py", "Desk.nothing")


def test_a_part_is_shown_with_its_file_and_without_its_docstring() -> None:
    shown = part("crew.py", "build_crew")
    assert shown.file == "template/service/crew.py"
    assert shown.source.startswith("def build_crew(settings: Settings) -> Crew:\n    llm = LLM(")
    assert '"""' not in shown.source
    text = (template() / "service" / "crew.py").read_text(encoding="utf-8")
    assert text.splitlines()[shown.line - 1] == shown.source.splitlines()[0]


@pytest.mark.whole
def test_all_its_tests_pass_without_this_course(tmp_path: Path) -> None:
    """Those that start a server only in the whole run: the chapter itself runs it on workers."""
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    (shadow / "crewlab.py").write_text("raise ImportError('the template stands on its own')\n")
    folder = copy_template(tmp_path / "copy")
    quick = [] if WHOLE else ["--ignore", "tests/test_service.py"]
    options = ["-q", "-W", "ignore", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *quick],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(shadow),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "TMPDIR": str(tmp_path),
        },
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "skipped" not in done.stdout or sys.platform != "linux"
