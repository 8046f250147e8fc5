"""Progress is one small file that several notebooks share and nothing may cost the learner."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crewlab import hint, progress, quiz, workspace
from crewlab.exercises import progress as records
from crewlab.exercises.store import VERSION, Store
from tests import chapters

ROOT = Path(__file__).resolve().parent.parent
POSIX_USER = os.name == "posix" and os.getuid() != 0

Said = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "home"
    monkeypatch.setenv("CREWLAB_HOME", str(folder))
    replaced = chapters.use()
    yield folder
    for name in replaced:
        sys.modules.pop(name, None)


def add_attempt(chapter: str) -> Any:
    def change(state: dict[str, Any]) -> None:
        entry = state["chapters"].setdefault(chapter, {})
        entry["attempts"] = entry.get("attempts", 0) + 1

    return change


def test_the_table_counts_what_was_answered_hinted_tried_and_solved(capsys: Said) -> None:
    quiz("98-predict", answer=1)
    quiz("98-predict", answer=2)
    hint("98")
    records.record_check("98", False)
    records.record_check("98", True)
    capsys.readouterr()
    progress()
    first, heading, _, plain_chapter, full_chapter, _, sentence, last = (
        capsys.readouterr().out.splitlines()
    )
    assert (first, last) == ("~~~ varies", "~~~")
    assert heading.split("  ")[0] == "Chapter"
    assert plain_chapter.split() == ["97", "Chapter", "97", "0", "of", "1", "-", "-", "-"]
    assert full_chapter.endswith("1 of 1         1 of 3      2         solved")
    assert sentence == "So far you have solved 1 of 1 exercise and answered 1 of 2 quizzes right."


def test_an_exercise_nobody_touched_is_not_called_unsolved(capsys: Said) -> None:
    assert [row.cells[-1] for row in records.rows()] == ["-", "not tried yet"]
    records.record_check("98", False)
    assert [row.cells[-1] for row in records.rows()] == ["-", "not solved yet"]


def test_the_file_is_small_readable_and_carries_its_version(home: Path) -> None:
    records.record_check("98", True)
    kept = json.loads((home / "progress.json").read_text())
    expected = {"attempts": 1, "solved": True}
    assert kept == {"version": VERSION, "quizzes": {}, "chapters": {"98": expected}}
    assert sorted(path.name for path in home.iterdir()) == [".lock", "progress.json"]


def test_what_this_version_does_not_know_survives_a_change(home: Path) -> None:
    home.mkdir()
    before = {"version": 1, "quizzes": {}, "chapters": {"50": {"hints": 1, "stars": 5}}, "x": [1]}
    (home / "progress.json").write_text(json.dumps(before))
    records.record_check("98", True)
    after = json.loads((home / "progress.json").read_text())
    assert after["x"] == [1]
    assert after["chapters"]["50"] == {"hints": 1, "stars": 5}


def test_two_processes_at_once_lose_nothing(home: Path) -> None:
    code = (
        "from crewlab.exercises import progress\n"
        "for _ in range(25): progress.record_check('98', False)\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(3)]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
    assert json.loads((home / "progress.json").read_text())["chapters"]["98"]["attempts"] == 75


def test_two_threads_at_once_lose_nothing(home: Path) -> None:
    def work() -> None:
        for _ in range(20):
            records.record_check("98", False)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert records.store().read()["chapters"]["98"]["attempts"] == 60


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"chapters": {}, "quizzes": {}}',
        b'{"version": 0, "chapters": {}, "quizzes": {}}',
        b'{"version": true, "chapters": {}, "quizzes": {}}',
        b'{"version": "1", "chapters": {}, "quizzes": {}}',
        b'{"version": 1, "chapters": [], "quizzes": {}}',
        b'{"version": 1, "chapters": {"01": 3}, "quizzes": {}}',
        b'{"version": 1, "chapters": {"01": {"attempts": "many"}}, "quizzes": {}}',
        b'{"version": 1, "chapters": {}, "quizzes": {"01-a": {"right": 1}}}',
        b'{"version": 1, "chapters": {}}',
    ],
)
def test_a_damaged_file_is_set_aside_told_and_never_lost(
    content: bytes, home: Path, capsys: Said
) -> None:
    home.mkdir()
    (home / "progress.json").write_bytes(content)
    records.record_check("98", True)
    (aside,) = home.glob("progress.damaged-*.json")
    assert aside.read_bytes() == content
    said = capsys.readouterr().out
    assert aside.name in said
    assert len(said.splitlines()) <= 3
    assert records.store().read()["chapters"]["98"]["solved"] is True


def test_a_second_damaged_file_of_a_day_does_not_replace_the_first(home: Path) -> None:
    home.mkdir()
    for content in ("one", "two", "three"):
        (home / "progress.json").write_text(content)
        records.record_check("98", True)
    kept = sorted(path.read_text() for path in home.glob("progress.damaged-*.json"))
    assert kept == ["one", "three", "two"]


def test_a_file_of_a_newer_course_is_left_alone_with_a_message(home: Path, capsys: Said) -> None:
    home.mkdir()
    newer = '{"version": 2, "anything": "else"}'
    (home / "progress.json").write_text(newer)
    records.record_check("98", True)
    records.record_hint("98", 1)
    said = capsys.readouterr().out
    assert said.count("newer version") == 1
    assert len(said.splitlines()) <= 3
    assert (home / "progress.json").read_text() == newer
    assert records.store().read()["chapters"]["98"]["hints"] == 1  # counts until the kernel ends


def test_a_progress_file_that_is_a_folder_costs_a_message_and_nothing_else(
    home: Path, capsys: Said
) -> None:
    (home / "progress.json").mkdir(parents=True)
    records.record_check("98", True)
    assert "cannot be saved" in capsys.readouterr().out
    assert records.store().read()["chapters"]["98"]["solved"] is True


def test_a_home_that_cannot_be_made_gives_way_to_a_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CREWLAB_HOME", str(tmp_path / "file" / "home"))
    records.record_check("98", True)
    records.record_check("98", True)
    assert capsys.readouterr().out.count("cannot be written") == 1
    assert records.store().read()["chapters"]["98"]["attempts"] == 2
    assert workspace.home().name == "home"


@pytest.mark.skipif(not POSIX_USER, reason="permissions stop neither root nor Windows")
def test_a_read_only_home_gives_way_to_a_temporary_one(home: Path, capsys: Said) -> None:
    home.mkdir(mode=0o500)
    records.record_check("98", True)
    assert "cannot be written" in capsys.readouterr().out
    assert records.store().read()["chapters"]["98"]["solved"] is True


@pytest.mark.skipif(sys.platform == "win32", reason="limits on file sizes are POSIX")
def test_on_a_full_disk_answers_wait_in_memory_and_are_saved_when_there_is_room(
    tmp_path: Path,
) -> None:
    # A file-size limit of the process is as full as a disk gets without one of its own.
    code = """
import resource
from crewlab.exercises import progress
progress.record_check("98", False)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, -1))
progress.record_check("98", False)
progress.record_check("98", True)
print(progress.store().read()["chapters"])
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
progress.record_hint("98", 2)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("cannot be saved") == 1
    assert "'attempts': 3, 'solved': True" in done.stdout
    kept = json.loads((tmp_path / "home" / "progress.json").read_text())
    assert kept["chapters"]["98"] == {"attempts": 3, "solved": True, "hints": 2}


def test_a_writer_that_is_killed_half_way_leaves_a_whole_file(home: Path) -> None:
    records.record_check("98", True)
    code = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from crewlab import workspace\n"
        "os.fsync = lambda _: os._exit(9)\n"  # the end comes after writing, before replacing
        "workspace.write_atomically(Path(workspace.home(), 'progress.json'), 'half')\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60)
    assert killed.returncode == 9
    assert records.store().read()["chapters"]["98"]["solved"] is True
    records.record_check("98", False)
    assert json.loads((home / "progress.json").read_text())["chapters"]["98"]["attempts"] == 2


def test_a_store_without_file_remembers_all_the_same() -> None:
    store = Store(None)
    store.update(add_attempt("98"))
    store.update(add_attempt("98"))
    assert store.read()["chapters"]["98"]["attempts"] == 2


def test_a_relative_home_is_taken_from_the_project_wherever_the_kernel_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"build/{tmp_path.name}"
    monkeypatch.setenv("CREWLAB_HOME", name)
    monkeypatch.chdir(tmp_path)
    home = workspace.home()
    assert home == ROOT / name
    home.rmdir()
