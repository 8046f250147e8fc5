"""``%load_ext crewlab`` sets a notebook up in one line, and leaves nothing behind."""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from crewlab import workspace
from tests.kernels import KILL_SERVICES, Kernel, kernel

READY = "Ready: a model, a search and a storage service run on this machine; replicas warm up.\n"
GOOD = "def run(inputs):\n    return inputs['company']\n"


def value(notebook: Kernel, expression: str) -> object:
    """Give what an expression is in the kernel, through JSON."""
    cell = notebook.run(f"import json; print('=', json.dumps({expression}))")
    assert cell.status == "ok", cell.error
    return json.loads(cell.text.rpartition("= ")[2])


def test_loading_says_one_line_and_brings_every_word_of_the_course(tmp_path: Path) -> None:
    with kernel(tmp_path / "home") as notebook:
        assert notebook.load().text == READY
        words = "App COMPANIES check compare diff explore hint progress quiz scale services"
        for word in words.split():
            assert notebook.run(word).status == "ok", word
        assert notebook.run("%who").text.strip() == "Interactive namespace is empty."
        found = value(notebook, "__import__('os').environ['OPENAI_BASE_URL']")
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", str(found))


def test_loading_imports_nothing_that_takes_its_time(tmp_path: Path) -> None:
    with kernel(tmp_path / "home") as notebook:
        # What comes a moment later, beside the next cells, may take its time.
        later = "crewlab.notebook.extension._import_pictures"
        notebook.run(f"import crewlab.notebook.extension; {later} = lambda: None")
        notebook.load()
        slow = ["crewai", "matplotlib", "ipywidgets", "boto3", "openai", "aiohttp", "pydantic"]
        assert value(notebook, f"[m for m in {slow} if m in __import__('sys').modules]") == []


def test_in_a_live_notebook_the_line_also_says_how_far_the_learner_is(tmp_path: Path) -> None:
    path = tmp_path / "notebooks" / "01_first.ipynb"
    with kernel(tmp_path / "home", notebook=path) as notebook:
        line = notebook.load().text
        assert line.startswith(READY.strip())
        assert re.search(r"solved 0 of \d+ exercises? and answered 0 of \d+ quiz", line)
        assert line.count("\n") == 1


def test_a_model_of_the_learners_own_is_kept_and_named(tmp_path: Path) -> None:
    own = {"OPENAI_BASE_URL": "https://model.example/v1", "OPENAI_API_KEY": "mine"}
    with kernel(tmp_path / "home", **own) as notebook:
        assert "your own model answers" in notebook.load().text
        found = value(notebook, "__import__('os').environ['OPENAI_BASE_URL']")
        assert found == own["OPENAI_BASE_URL"]


def test_loading_twice_and_reloading_leave_one_of_everything(tmp_path: Path) -> None:
    with kernel(tmp_path / "home") as notebook:
        notebook.load()
        assert notebook.run("import crewlab; crewlab.load_ipython_extension(get_ipython())").text
        assert notebook.run("%reload_ext crewlab").text == READY
        hooks = "len(get_ipython().events.callbacks['pre_run_cell'])"
        after = value(notebook, hooks)
        assert notebook.run(f"%%app mine\n{GOOD}").status == "ok"
        notebook.run("%unload_ext crewlab")
        assert value(notebook, hooks) == int(str(after)) - 1


def test_unloading_gives_environment_names_and_processes_back(tmp_path: Path) -> None:
    with kernel(tmp_path / "home", SERPER_API_KEY="before") as notebook:
        notebook.load()
        pid = value(notebook, "services.pid")
        notebook.run("scale = 'my own'")
        notebook.run("%unload_ext crewlab")
        assert value(notebook, "__import__('os').environ.get('OPENAI_BASE_URL')") is None
        assert value(notebook, "__import__('os').environ['SERPER_API_KEY']") == "before"
        assert "NameError" in "".join(notebook.run("quiz").error)
        assert value(notebook, "scale") == "my own"
        assert "not found" in notebook.run(f"%%app mine\n{GOOD}").text
        assert not psutil.pid_exists(int(str(pid)))


def test_services_that_were_killed_are_back_before_the_next_cell_with_a_message(
    tmp_path: Path,
) -> None:
    with kernel(tmp_path / "home") as notebook:
        notebook.load()
        assert notebook.run(KILL_SERVICES).status == "ok"
        cell = notebook.run("print(services.model.stats().total)")
        assert "restarted on the same ports" in cell.text
        assert cell.text.endswith("\n0\n")
        assert "restarted" not in notebook.run("1").text


def test_services_that_cannot_start_are_told_and_the_rest_still_works(tmp_path: Path) -> None:
    with kernel(tmp_path / "home") as notebook:
        # What a broken installation looks like from here: the child cannot be started.
        notebook.run("import sys; python = sys.executable; sys.executable = '/nowhere/python'")
        cell = notebook.load()
        notebook.run("sys.executable = python")
        assert cell.status == "ok"
        assert "did not start" in cell.text and "crewlab check" in cell.text
        assert notebook.run(f"%%app mine\n{GOOD}").text == "Saved mine.py (2 lines)\n"


def family_and_folder(notebook: Kernel) -> tuple[list[psutil.Process], Path]:
    """Give the kernel with all its children, and the folder it saved an app in."""
    notebook.load(preload=True)
    notebook.run(f"%%app mine\n{GOOD}")
    folder = Path(str(value(notebook, "str(mine.path.parent)")))
    assert (folder / "mine.py").read_text() == GOOD
    kernel_process = psutil.Process(int(str(value(notebook, "__import__('os').getpid()"))))
    return [kernel_process, *kernel_process.children(recursive=True)], folder


def gone_soon(folder: Path) -> bool:
    deadline = time.monotonic() + 20
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not folder.exists()


def test_a_kernel_that_ends_takes_its_processes_and_its_folder_with_it(tmp_path: Path) -> None:
    with kernel(tmp_path / "home") as notebook:
        family, folder = family_and_folder(notebook)
        notebook.run(
            "import atexit, pathlib\n"
            f"atexit.register(pathlib.Path({str(tmp_path / 'ended')!r}).touch)"
        )
    _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []
    assert gone_soon(folder)
    assert (tmp_path / "ended").exists()  # it ended by itself; nobody lost patience and killed it


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_kernel_leaves_no_process_and_no_folder_either(tmp_path: Path) -> None:
    with kernel(tmp_path / "home") as notebook:
        family, folder = family_and_folder(notebook)
        family[0].send_signal(signal.SIGKILL)
        _, alive = psutil.wait_procs(family, timeout=20)
        assert alive == []
        assert gone_soon(folder)


def test_two_notebooks_of_one_name_never_share_a_folder(tmp_path: Path) -> None:
    home, path = tmp_path / "home", tmp_path / "notebooks" / "01_first.ipynb"
    with kernel(home, notebook=path) as one, kernel(home, notebook=path) as two:
        for notebook, answer in ((one, "1"), (two, "2")):
            notebook.load()
            notebook.run(f"%%app mine\ndef run(inputs):\n    return '{answer}'\n")
        assert "return '1'" in str(value(one, "mine.source"))
        assert "return '2'" in str(value(two, "mine.source"))
    assert sorted(folder.name for folder in home.glob("*_first*")) == ["01_first", "01_first-2"]


def test_a_notebook_finds_its_own_apps_again_and_not_the_other_editions(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with kernel(home, notebook=tmp_path / "notebooks" / "01_first.ipynb") as notebook:
        for _ in range(2):
            notebook.load()
            notebook.run(f"%%app mine\n{GOOD}")
            notebook.restart()
    with kernel(home, notebook=tmp_path / "solutions" / "01_first.ipynb") as notebook:
        notebook.load()
        notebook.run(f"%%app mine\n{GOOD}")
    found = sorted(path.parent.name for path in home.glob("*/mine.py"))
    assert found == ["01_first", "solutions-01_first"]


def test_outside_of_a_notebook_there_is_one_scratch_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREWLAB_HOME", str(tmp_path))
    assert workspace.chapter_folder() == tmp_path / "scratch"
    assert workspace.chapter_folder("02 odd/../name") == tmp_path / "02_odd_name"
    assert not workspace.live()


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    workspace.write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        workspace.write_atomically(path, "new \ud800")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file.txt", "old")]
