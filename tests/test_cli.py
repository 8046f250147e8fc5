"""The ``crewlab`` command as a learner and an author type it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import portalocker
import pytest

from crewlab import self_check, start_over
from crewlab.building.kernel import private_environment
from tests.courses import code, make_course

ROOT = Path(__file__).resolve().parent.parent
SECRET = "sk-this-must-never-be-shown"  # noqa: S105 - that is the point


def crewlab(
    *arguments: str | Path, answer: str = "", cwd: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own; both streams are in ``stdout``."""
    return subprocess.run(
        [sys.executable, "-m", "crewlab", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        input=answer,
        text=True,
        encoding="utf-8",
        cwd=cwd,
        env={**os.environ, "COLUMNS": "100", **environment},
        timeout=120,
    )


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """One real ``crewlab check``, with a learner's own keys set and a temp folder of its own."""
    rooms = tmp_path_factory.mktemp("check")
    environment = private_environment(rooms)
    return crewlab("check", **environment, OPENAI_API_KEY=SECRET, SERPER_API_KEY=SECRET)


def test_check_goes_all_the_way_to_an_answer_from_a_replica(
    checked: subprocess.CompletedProcess[str],
) -> None:
    assert checked.returncode == 0, checked.stdout
    assert "A crew on a replica answered" in checked.stdout
    assert checked.stdout.rstrip().endswith("Everything works.")


def test_check_shows_no_secret_and_no_folder_of_this_machine(
    checked: subprocess.CompletedProcess[str],
) -> None:
    assert SECRET not in checked.stdout
    assert str(ROOT) not in checked.stdout


def test_check_names_what_fails_and_what_to_do_and_stops_before_the_round_trip(
    tmp_path: Path,
) -> None:
    (tmp_path / "requirements.lock").write_text("typer==0.0.1 \\\n    --hash=sha256:00\n")
    (tmp_path / "work").write_text("a file where the folder should be")

    done = crewlab("check", "--project", tmp_path, CREWLAB_HOME="work")

    assert done.returncode == 1
    assert "FAIL  Packages differ from the lock: typer is " in done.stdout
    assert "not 0.0.1" in done.stdout
    assert "make lab" in done.stdout
    assert "FAIL  The work folder 'work' cannot be written" in done.stdout
    assert "set CREWLAB_HOME to another folder" in done.stdout
    assert "replica answered" not in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize("version", [(3, 10, 14), (3, 14, 0)])
def test_a_python_out_of_range_is_refused(version: tuple[int, int, int]) -> None:
    with pytest.raises(self_check.Failed) as failed:
        self_check.check_python(version)
    assert "the course needs" in failed.value.what
    assert "Install Python 3.11" in failed.value.advice


def test_the_lock_is_read_with_its_markers(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        "# a comment\n"
        "nothing-like-this==1.0 ; sys_platform == 'no-such-system' \\\n"
        "    --hash=sha256:00\n"
        "    # via typer\n"
    )
    assert self_check.check_packages(lock).startswith("0 packages")
    lock.write_text("nothing-like-this==1.0 \\\n    --hash=sha256:00\n")
    with pytest.raises(self_check.Failed) as failed:
        self_check.check_packages(lock)
    assert failed.value.what.endswith("nothing-like-this is missing")
    with pytest.raises(self_check.Failed) as missing:
        self_check.check_packages(tmp_path / "none.lock")
    assert "is missing" in missing.value.what


def test_python_dash_m_and_the_command_are_the_same() -> None:
    command = Path(sys.executable).with_name("crewlab")
    done = subprocess.run([command, "--help"], capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0
    for name in ("check", "build", "reset"):
        assert name in done.stdout
        assert name in crewlab("--help").stdout


def test_an_unknown_chapter_is_answered_in_three_lines_with_a_suggestion(tmp_path: Path) -> None:
    project = make_course(tmp_path / "course")
    done = crewlab("build", "--project", project.root, "01_simple")
    assert done.returncode == 1
    assert "Did you mean 01_sample?" in done.stdout
    assert len(done.stdout.splitlines()) <= 3


def test_a_folder_without_chapters_is_named(tmp_path: Path) -> None:
    done = crewlab("build", "--project", tmp_path)
    assert done.returncode == 1
    assert "There is no folder chapters/" in done.stdout
    assert len(done.stdout.splitlines()) <= 3


def test_build_check_fails_for_a_stale_edition_and_writes_nothing(tmp_path: Path) -> None:
    text = "# A\n\n" + code("%load_ext crewlab", "setup")
    project = make_course(tmp_path / "course", _00_a=text)

    done = crewlab("build", "--check", "--project", project.root)

    assert done.returncode == 1
    assert "notebooks/00_a.ipynb is stale: it does not exist.\n" in done.stdout
    assert "Run: crewlab build 00_a" in done.stdout
    assert not list(project.root.glob("*/*.ipynb"))


def test_build_without_running_writes_the_learners_edition_only(tmp_path: Path) -> None:
    text = "# A\n\n" + code("%load_ext crewlab", "setup")
    project = make_course(tmp_path / "course", _00_a=text)
    done = crewlab("build", "--no-execute", "--project", project.root)
    assert done.returncode == 0, done.stdout
    assert [path.parent.name for path in project.root.glob("*/*.ipynb")] == ["notebooks"]
    again = crewlab("build", "--no-execute", "--project", project.root)
    assert again.stdout == "Everything is up to date.\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A work folder with an app, progress, an older copy, and a file of the learner's own."""
    home = tmp_path / "work"
    chapter = home / "01_x"
    chapter.mkdir(parents=True)
    (chapter / start_over.IN_USE).touch()
    (chapter / "broken.py").write_text("def run(inputs): ...\n")
    (home / "progress.json").write_text(json.dumps({"version": 1, "quizzes": {}, "chapters": {}}))
    (home / "progress.before-reset-2020-01-01.json").write_text("{}")
    (home / "notes").mkdir()
    (home / "notes" / "mine.txt").write_text("mine")
    return home


def names(home: Path) -> set[str]:
    return {path.name for path in home.iterdir() if path.name != ".lock"}


def test_reset_removes_apps_keeps_a_copy_of_the_progress_and_what_is_not_ours(home: Path) -> None:
    before = (home / "progress.json").read_text()
    done = crewlab("reset", "--yes", CREWLAB_HOME=str(home))
    assert done.returncode == 0, done.stdout
    copies = names(home) - {"notes", "progress.before-reset-2020-01-01.json"}
    (copy,) = copies
    assert copy.startswith("progress.before-reset-2")
    assert copy in done.stdout
    assert (home / copy).read_text() == before
    assert (home / "notes" / "mine.txt").read_text() == "mine"
    assert (home / "progress.before-reset-2020-01-01.json").read_text() == "{}"


def test_reset_can_keep_the_progress(home: Path) -> None:
    assert crewlab("reset", "--yes", "--keep-progress", CREWLAB_HOME=str(home)).returncode == 0
    assert "progress.json" in names(home)
    assert "01_x" not in names(home)


def test_reset_asks_first_and_takes_no_for_an_answer(home: Path) -> None:
    before = names(home)
    done = crewlab("reset", answer="n\n", CREWLAB_HOME=str(home))
    assert "Nothing was removed" in done.stdout
    assert names(home) == before


def test_reset_refuses_while_a_notebook_is_open(home: Path) -> None:
    before = names(home)
    with (home / "01_x" / start_over.IN_USE).open("a") as held:
        portalocker.lock(held, portalocker.LOCK_EX | portalocker.LOCK_NB)
        done = crewlab("reset", "--yes", CREWLAB_HOME=str(home))
    assert done.returncode == 1
    assert "Still open: 01_x. Nothing was removed." in done.stdout
    assert names(home) == before


def test_two_resets_on_one_day_keep_both_copies(home: Path) -> None:
    first = start_over.reset(home)
    (home / "progress.json").write_text("{}")
    second = start_over.reset(home)
    assert first is not None
    assert second is not None
    assert first != second
    assert first.is_file()
    assert second.is_file()
