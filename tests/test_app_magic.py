"""``%%app`` saves what can be deployed, and refuses everything else in three lines or fewer."""

from __future__ import annotations

import importlib.util
import os
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from crewlab.notebook.app_magic import COURSE_NAMES, save
from crewlab.notebook.show import CellRefused
from tests.kernels import kernel

GOOD = "def run(inputs):\n    return inputs['company']\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CREWLAB_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def refusal(name: str, source: str, namespace: dict[str, Any] | None = None) -> str:
    with pytest.raises(CellRefused) as refused:
        save(name, textwrap.dedent(source), {} if namespace is None else namespace)
    message = str(refused.value)
    assert 1 <= len(message.splitlines()) <= 3
    assert "Traceback" not in message
    return message


def test_a_saved_cell_is_a_module_that_can_be_imported_and_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    namespace: dict[str, Any] = {}
    app = save(" broken ", GOOD, namespace)
    assert namespace["broken"] is app
    assert (app.name, app.path.name, app.source) == ("broken", "broken.py", GOOD)
    assert capsys.readouterr().out == "Saved broken.py (2 lines)\n"
    spec = importlib.util.spec_from_file_location("broken", app.path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.run({"company": "Aldermoor"}) == "Aldermoor"


def test_the_file_is_the_cell_without_blank_lines_around_it() -> None:
    app = save("broken", "\n\n" + GOOD + "\n\n\n", {})
    assert app.source == GOOD


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "needs a name"),
        ("two words", "no import could spell"),
        ("../escape", "no import could spell"),
        ("1st", "no import could spell"),
        ("größer", "no import could spell"),
        ("class", "a word of the Python language"),
        ("Broken", "lower case"),
        ("_hidden", "start with a letter"),
        ("json", "a module of that name is installed"),
        ("crewai", "a module of that name is installed"),
        ("crewlab", "a module of that name is installed"),
        ("print", "hide `print` of Python"),
        ("con", "Windows"),
        *[(name, "hide") for name in COURSE_NAMES if name.islower()],
    ],
)
def test_a_name_that_no_server_could_import_is_refused_with_the_reason(
    name: str, reason: str, home: Path
) -> None:
    assert reason in refusal(name, GOOD)
    assert not list(home.glob("**/*.py"))


def test_a_syntax_error_shows_file_line_and_a_caret_under_the_column() -> None:
    message = refusal("mine", "import os\n\nanswer = (1,\n\ndef run(inputs):\n    return answer\n")
    first, line, caret = message.splitlines()
    assert first == "mine.py:3: '(' was never closed"
    assert line.endswith("answer = (1,")
    assert line[caret.index("^")] == "("


def test_the_caret_stays_under_its_column_in_a_line_with_tabs_and_in_a_very_long_line() -> None:
    _, line, caret = refusal("mine", "def run(inputs):\n\t\treturn 1 $ 2\n").splitlines()
    assert line[caret.index("^")] == "$"
    long = "x = [" + "1, " * 200 + "$]\n"
    _, line, caret = refusal("mine", long).splitlines()
    assert line[caret.index("^")] == "$"
    assert len(line) < 100


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("   \n\n", "would be empty"),
        ("def other(inputs): ...", "has no `run`"),
        ("class A:\n    def run(self, inputs): ...", "has no `run`"),
        ("run = None", "has no `run`"),
        ("def run(): ...", "with one argument"),
        ("def run(a, b): ...", "with one argument"),
        ("def run(inputs, *, key): ...", "with one argument"),
        ("def run(inputs): ...\ndef run(): ...", "mine.py:2"),
        ("async def run(inputs): ...", "async"),
        ("%time 1\ndef run(inputs): ...", "without notebook commands"),
        ("!ls\ndef run(inputs): ...", "without notebook commands"),
        ("import crewlab\n" + GOOD, "mine.py:1: an app never imports crewlab"),
        ("def run(inputs):\n    from crewlab.app import App", "mine.py:2"),
        ("return 3", "outside function"),
        ("x = 1\0", "null bytes"),
        ("x = '\ud800'\n" + GOOD, "cannot be compiled"),
        ("x = " + "(" * 5000 + ")" * 5000, "mine.py"),
    ],
)
def test_a_cell_that_cannot_be_deployed_is_refused_with_the_reason(
    source: str, reason: str
) -> None:
    assert reason in refusal("mine", source)


@pytest.mark.parametrize(
    "source",
    [
        "def run(inputs, retries=2): ...",
        "def run(*args): ...",
        "from functools import lru_cache\n@lru_cache\ndef run(inputs): ...",
        "run = lambda inputs: 'x'",
        "from somewhere import handle as run",
        "try:\n    from fast import run\nexcept ImportError:\n    def run(inputs): ...",
        "import crewlab_tools\ndef run(inputs): ...",
    ],
)
def test_every_ordinary_way_to_have_a_run_is_accepted(source: str) -> None:
    assert save("mine", source, {}).path.is_file()


def test_a_refused_cell_leaves_no_older_app_under_its_name() -> None:
    namespace: dict[str, Any] = {}
    save("mine", GOOD, namespace)
    refusal("mine", "def run(:", namespace)
    assert "mine" not in namespace


def test_a_refused_cell_takes_nothing_away_that_is_no_app() -> None:
    namespace: dict[str, Any] = {"mine": 3}
    refusal("mine", "def run(:", namespace)
    assert namespace == {"mine": 3}


def test_a_refused_cell_leaves_the_saved_file_as_it_was() -> None:
    app = save("mine", GOOD, {})
    refusal("mine", "def run(:")
    assert app.source == GOOD


def test_a_quick_edit_of_the_same_length_is_what_the_next_import_sees() -> None:
    first = save("mine", "VALUE = 1\n" + GOOD, {})
    sys.path.insert(0, str(first.path.parent))
    try:
        import mine  # type: ignore[import-not-found]

        assert mine.VALUE == 1
        stamp = first.path.stat().st_mtime
        second = save("mine", "VALUE = 2\n" + GOOD, {})
        os.utime(second.path, (stamp, stamp))  # the edit happened within the same second
        del sys.modules["mine"]
        import mine

        assert mine.VALUE == 2
    finally:
        sys.path.remove(str(first.path.parent))
        sys.modules.pop("mine", None)


def test_a_work_folder_that_cannot_be_written_gives_way_to_a_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("a file is no folder")
    monkeypatch.setenv("CREWLAB_HOME", str(tmp_path / "file" / "home"))
    first = save("mine", GOOD, {})
    second = save("yours", GOOD, {})
    assert first.source == GOOD
    assert first.path.parent == second.path.parent
    said = capsys.readouterr().out
    assert said.count("cannot be written") == 1
    assert "Set" in said or "set CREWLAB_HOME" in said


@pytest.mark.skipif(sys.platform == "win32", reason="limits on file sizes are POSIX")
def test_a_disk_that_fills_up_while_saving_is_told_and_costs_neither_file_nor_kernel(
    tmp_path: Path,
) -> None:
    # A file-size limit of the process is as full as a disk gets without one of its own.
    with kernel(tmp_path / "home") as notebook:
        assert notebook.load().status == "ok"
        assert notebook.run(f"%%app mine\n{GOOD}").text == "Saved mine.py (2 lines)\n"
        limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (%s, -1)); mine"
        notebook.run(limit % 16)
        full = notebook.run(f"%%app mine\n# longer than before\n{GOOD}")
        assert full.status == "error"
        assert "cannot be saved" in "".join(full.error)
        assert len(full.error) <= 3
        notebook.run("import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))")
        saved = notebook.run(f"%%app mine\n{GOOD}")
        assert saved.text.endswith("Saved mine.py (2 lines)\n")


def test_in_a_notebook_a_refused_cell_shows_our_lines_and_no_traceback(tmp_path: Path) -> None:
    with kernel(tmp_path / "home") as notebook:
        notebook.load()
        cell = notebook.run("%%app mine\ndef run(inputs):\n    return (1\n")
        assert cell.status == "error"  # "Run all" stops here
        assert cell.error == [
            "mine.py:2: '(' was never closed",
            "        return (1",
            "               ^",
        ]
        assert "NameError" in "".join(notebook.run("mine").error)
        saved = notebook.run(f"%%app mine\n{GOOD}mine")
        assert saved.text == "Saved mine.py (3 lines)\n"
        assert notebook.run("mine.name").bundles[0]["text/plain"] == "'mine'"
