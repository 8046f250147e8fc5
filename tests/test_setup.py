"""The way from a fresh copy of the course to an open chapter: make, the environment, the locks."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
NEEDED = [
    "Makefile",
    "README.md",
    "LICENSE",
    "pyproject.toml",
    "requirements.lock",
    "jupyter_lab_config.py",
]
LOCKS = ["requirements.lock", "requirements-bench.lock"]
FIRST_CHAPTER = "notebooks/00_start_here.ipynb"

posix_only = pytest.mark.skipif(os.name == "nt", reason="make is for Linux and macOS")


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"course_{name}", ROOT / "scripts" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


set_up = load_script("set_up")


def copy_course(to: Path) -> Path:
    """Copies what set-up reads, as a fresh clone would hold it: no environment, nothing made."""
    to.mkdir(parents=True)
    for name in NEEDED:
        shutil.copy(ROOT / name, to)
    for folder in ("lib", "scripts"):
        unwanted = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, to / folder, ignore=unwanted)
    return to


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # A make above this test run hands its own settings down; those are not for this one.
    # Nor is the Python that somebody chose for it.
    inherited = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("MAKE", "MFLAGS")) and k != "PYTHON"
    }
    # Nothing that is run here would gain the time that compiling takes.
    inherited["UV_COMPILE_BYTECODE"] = "0"
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


# --- no Python that fits ------------------------------------------------------------------------


@pytest.fixture
def bare_machine(tmp_path: Path) -> Path:
    """A folder of commands with only what every system has: no Python, no compiler, nothing."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("make", "dirname"):
        found = shutil.which(name)
        assert found, f"{name} is needed to test the set-up"
        (commands / name).symlink_to(found)
    return commands


def pretend_python(commands: Path, name: str, pretence: str) -> None:
    """Puts a Python there that runs our questions for real, after `pretence` changed its mind."""
    ask = f"import sys; {pretence}; exec(sys.argv[1])"
    script = f'#!/bin/sh\nexec "{sys.executable}" -c "{ask}" "$2"\n'
    (commands / name).write_text(script)
    (commands / name).chmod(0o755)


def refused(folder: Path, commands: Path, *arguments: str) -> list[str]:
    """Runs `make set-up`, which must fail, and returns its message without make's own last line."""
    outcome = make(folder, "set-up", *arguments, PATH=str(commands))
    assert outcome.returncode != 0
    assert outcome.stdout == ""
    assert not (folder / ".venv").exists()
    return [line for line in outcome.stderr.splitlines() if not line.startswith("make")]


@posix_only
def test_a_machine_without_python_is_told_in_three_lines(
    tmp_path: Path, bare_machine: Path
) -> None:
    message = refused(copy_course(tmp_path / "course"), bare_machine)
    assert len(message) == 3
    assert "needs Python 3.11, 3.12 or 3.13" in message[0]
    assert "PATH" in message[1]
    assert message[2].startswith("Install one")


@posix_only
@pytest.mark.parametrize("version", ["(3, 8, 18)", "(3, 10, 13)", "(3, 14, 0)"])
def test_a_python_of_another_version_is_named_in_three_lines(
    tmp_path: Path, bare_machine: Path, version: str
) -> None:
    pretend_python(bare_machine, "python3", f"sys.version_info = {version}")
    message = refused(copy_course(tmp_path / "course"), bare_machine)
    assert len(message) == 3
    assert "needs Python 3.11, 3.12 or 3.13" in message[0]
    assert message[1] == "python3 is Python {}.{}.{}.".format(*re.findall(r"\d+", version))
    assert "make lab PYTHON=" in message[2]


@posix_only
def test_a_debian_python_without_venv_is_told_the_apt_command(
    tmp_path: Path, bare_machine: Path
) -> None:
    absent = "sys.version_info = (3, 12, 3); sys.modules['ensurepip'] = None"
    pretend_python(bare_machine, "python3.12", absent)
    message = refused(copy_course(tmp_path / "course"), bare_machine)
    assert len(message) == 3
    assert "python3.12" in message[0]
    assert "ensurepip" in message[1]
    assert message[2].startswith("Run: sudo apt install python3.12-venv")


@posix_only
def test_a_python_named_by_the_learner_that_does_not_exist_is_told_in_three_lines(
    tmp_path: Path, bare_machine: Path
) -> None:
    pretend_python(bare_machine, "python3", "pass")
    course = copy_course(tmp_path / "course")
    message = refused(course, bare_machine, "PYTHON=/no/such place/python3.12")
    assert len(message) == 3
    assert "/no/such place/python3.12" in message[1]


@posix_only
def test_the_set_up_script_itself_ends_with_exit_code_1(tmp_path: Path) -> None:
    course = copy_course(tmp_path / "course")
    outcome = subprocess.run(
        ["/bin/sh", "scripts/set_up.sh"],
        cwd=course,
        env={"PATH": os.defpath, "PYTHON": "/no/such/python"},
        capture_output=True,
        check=False,
    )
    assert outcome.returncode == 1


# --- an environment that stands, or does not ----------------------------------------------------


@pytest.fixture
def small_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment with nothing in it, and the stamp of a whole one."""
    monkeypatch.setattr(set_up, "ROOT", tmp_path)
    folder = tmp_path / ".venv"
    bare = [sys.executable, "-m", "venv", "--without-pip", str(folder)]
    subprocess.run(bare, check=True)
    set_up.write_stamp(folder, {"requirements.lock": "0"})
    return folder


def verdict(folder: Path, *, this_python: bool = False) -> str | None:
    reason: str | None = set_up.why_not_usable(folder, set_up.read_stamp(folder), this_python)
    return reason


def restamp(environment: Path, **changes: str) -> None:
    stamp = set_up.read_stamp(environment) | changes
    (environment / set_up.STAMP).write_text(json.dumps(stamp))


def test_a_whole_environment_is_kept(small_environment: Path) -> None:
    assert verdict(small_environment) is None
    assert verdict(small_environment, this_python=True) is None


def test_an_unfinished_environment_is_noticed(small_environment: Path) -> None:
    (small_environment / set_up.STAMP).unlink()
    assert verdict(small_environment) == "it was not finished"


def test_a_damaged_stamp_counts_as_unfinished(small_environment: Path) -> None:
    (small_environment / set_up.STAMP).write_text('{"folder": ')
    assert verdict(small_environment) == "it was not finished"


def test_a_moved_environment_is_noticed(small_environment: Path) -> None:
    restamp(small_environment, folder="/elsewhere/.venv")
    assert verdict(small_environment) == "it was moved here from another folder"


def test_an_environment_whose_python_is_gone_is_noticed(small_environment: Path) -> None:
    set_up.python_of(small_environment).unlink()
    assert verdict(small_environment) == "its Python was changed or removed"


def test_an_environment_whose_python_was_upgraded_is_noticed(small_environment: Path) -> None:
    restamp(small_environment, python="3.11.0 /usr")
    assert verdict(small_environment) == "its Python was changed or removed"


def test_another_python_counts_only_when_the_learner_names_one(
    small_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = small_environment.parent / "python3.13"
    pretend_python(named.parent, named.name, "sys.base_prefix = '/another'")
    # set_up asks with `-I -c QUESTION`: the pretender takes the question from the second place.
    named.write_text(named.read_text().replace('"$2"', '"$3"'))
    monkeypatch.setattr(set_up.sys, "executable", str(named))
    assert verdict(small_environment) is None
    assert verdict(small_environment, this_python=True) == "it was made by another Python"


# --- the whole thing, once ----------------------------------------------------------------------


def packages_can_be_fetched(folder: Path) -> bool:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "iniconfig"]
    fetched = subprocess.run(
        [*command, "--dest", str(folder)], capture_output=True, timeout=120, check=False
    )
    return fetched.returncode == 0


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the course in a folder with a space, set up after a first try was killed."""
    if os.name == "nt":
        pytest.skip("make is for Linux and macOS")
    folder = tmp_path_factory.mktemp("set-up")
    if not os.environ.get("CI") and not packages_can_be_fetched(folder):
        pytest.skip("no package index can be reached: a fresh environment cannot be made")
    course = copy_course(folder / "my course")
    kill_in_the_middle_of_set_up(course)
    outcome = make(course, "set-up", f"PYTHON={sys.executable}")
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout == "Making .venv again: it was not finished.\n"
    yield course
    # pytest would keep it, and it is large.
    shutil.rmtree(course / ".venv")


def kill_in_the_middle_of_set_up(course: Path) -> None:
    first = subprocess.Popen(
        [sys.executable, "scripts/set_up.py"],
        cwd=course,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert first.stdout is not None
    assert "once" in first.stdout.readline()
    while not (course / ".venv/bin/python").exists():
        assert first.poll() is None, "the set-up ended before it could be killed"
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()


@pytest.mark.whole
def test_set_up_starts_over_by_itself_and_works_in_a_folder_with_a_space(installed: Path) -> None:
    python = installed / ".venv/bin/python"
    question = "import crewlab; print(crewlab.__file__)"
    answer = subprocess.run([python, "-c", question], capture_output=True, text=True, check=True)
    assert Path(answer.stdout.strip()).is_relative_to(installed / "lib")


def test_set_up_installs_exactly_what_the_lock_says(installed: Path) -> None:
    uv = [installed / ".venv/bin/uv", "pip", "sync", "--dry-run", "requirements.lock"]
    environment = {**os.environ, "VIRTUAL_ENV": str(installed / ".venv")}
    plan = subprocess.run(
        uv, cwd=installed, env=environment, capture_output=True, text=True, check=True
    )
    changes = [line for line in plan.stderr.splitlines() if line.startswith((" +", " -", " ~"))]
    # Only the course itself is not in the lock.
    assert [change.split("==")[0].strip() for change in changes] == ["- crewlab"]


def test_a_second_set_up_does_nothing_and_says_nothing(installed: Path) -> None:
    stamp = installed / ".venv" / set_up.STAMP
    before = stamp.stat().st_mtime_ns
    outcome = make(installed, "set-up")
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "", "")
    assert stamp.stat().st_mtime_ns == before


def test_a_change_of_pyproject_updates_the_environment_without_making_it_anew(
    installed: Path,
) -> None:
    made = (installed / ".venv/pyvenv.cfg").stat().st_mtime_ns
    with (installed / "pyproject.toml").open("a") as settings:
        settings.write("\n# a new line\n")
    outcome = make(installed, "set-up")
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout == ""
    assert (installed / ".venv/pyvenv.cfg").stat().st_mtime_ns == made
    stamp = json.loads((installed / ".venv" / set_up.STAMP).read_text())
    assert stamp["inputs"]["pyproject.toml"] == set_up.digest(installed / "pyproject.toml")


@contextmanager
def lab(course: Path, **environment: str) -> Iterator[str]:
    """Runs `make lab` without a browser; gives the address it prints."""
    server = subprocess.Popen(
        ["make", "lab", "LAB_ARGS=--no-browser --port=0"],
        cwd=course,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert server.stderr is not None
    try:
        printed = []
        for line in server.stderr:
            printed.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\S+", line):
                yield found.group()
                break
        else:
            raise AssertionError("JupyterLab ended:\n" + "".join(printed))
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.communicate(timeout=30)


def fetch(address: str) -> int:
    """Status of a page. JupyterLab prints its address a moment before it listens there."""
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(address, timeout=20) as page:  # noqa: S310 (loopback)
                return int(page.status)
        except urllib.error.HTTPError as problem:
            return problem.code
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def test_make_lab_opens_chapter_00_behind_a_token_even_without_a_home(installed: Path) -> None:
    (installed / "notebooks").mkdir()
    shutil.copy(ROOT / FIRST_CHAPTER, installed / FIRST_CHAPTER)
    with lab(installed, HOME="/no/such/home") as address:
        page, token = address.split("?token=")
        assert page.endswith(f"/lab/tree/{FIRST_CHAPTER}")
        contents = page.split("/lab/")[0] + f"/api/contents/{FIRST_CHAPTER}"
        assert fetch(f"{contents}?token={token}") == 200
        assert fetch(contents) == 403
    assert (installed / ".venv/home").is_dir()


# --- the locks and what is made from them -------------------------------------------------------


def pins(lock: str) -> list[Requirement]:
    lines = (ROOT / lock).read_text(encoding="utf-8").splitlines()
    return [Requirement(line.rstrip(" \\")) for line in lines if line[:1].isalnum()]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_index_and_no_path_of_a_machine(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert re.findall(r"\w+://|--(?:extra-)?index|--find-links|(?:^|[\s(])/\S+", text, re.M) == []


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_of_a_lock_has_one_version_and_its_hashes(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    entries = re.split(r"^(?=\w)", text, flags=re.M)[1:]
    assert len(entries) == len(pins(lock)) > 0
    for entry in entries:
        assert re.match(r"[\w.-]+==\S+ ", entry), entry.splitlines()[0]
        assert "--hash=sha256:" in entry


def test_the_locks_cover_everything_pyproject_asks_for() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [
        *settings["project"]["dependencies"],
        *chain.from_iterable(settings["project"]["optional-dependencies"].values()),
        *settings["build-system"]["requires"],
        *settings["dependency-groups"]["bench"],
    ]
    locked = [*pins(LOCKS[0]), *pins(LOCKS[1])]
    for line in wanted:
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        found = [pin for pin in locked if canonicalize_name(pin.name) == name]
        assert found, f"{line} is in pyproject.toml and in no lock: run `make lock`"
        for pin in found:
            version = str(pin.specifier).removeprefix("==")
            assert requirement.specifier.contains(version, prereleases=True), f"{line}, {pin}"


def test_the_locks_agree_where_they_name_the_same_package() -> None:
    course = {(pin.name, str(pin.marker)): str(pin.specifier) for pin in pins(LOCKS[0])}
    versions = {name: {v for (n, _), v in course.items() if n == name} for name, _ in course}
    for pin in pins(LOCKS[1]):
        assert str(pin.specifier) in versions.get(pin.name, {str(pin.specifier)}), pin


def test_set_up_installs_the_locked_uv_with_its_hashes() -> None:
    entry = set_up.uv_from_lock(ROOT / "requirements.lock")
    assert re.match(r"uv==\d+\.\d+\.\d+ ", entry)
    assert len(re.findall(r"^\w", entry, re.M)) == 1
    assert "--hash=sha256:" in entry


@posix_only
def test_make_alone_lists_its_targets() -> None:
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.M)
    assert phony is not None
    outcome = make(ROOT)
    assert outcome.returncode == 0
    for target in set(phony.group(1).split()) - {"help", "set-up", "set-up-bench"}:
        assert re.search(rf"^make {target}(?:\s|$)", outcome.stdout, re.M), target


@posix_only
@pytest.mark.parametrize("given", [(), ("CHAPTER=8",), ("CHAPTER=one chapter",)])
def test_make_test_chapter_without_a_chapters_digits_says_how_to_name_one(
    given: tuple[str, ...],
) -> None:
    outcome = make(ROOT, "test-chapter", *given)
    assert outcome.returncode != 0
    assert "make test-chapter CHAPTER=08" in outcome.stderr
    assert "no tests ran" not in outcome.stdout


# --- what runs elsewhere ------------------------------------------------------------------------


@posix_only
@pytest.mark.parametrize(("ray", "tests", "code"), [(0, 0, 0), (0, 2, 2), (3, 0, 3), (3, 2, 2)])
def test_the_ci_script_ends_with_the_readmes_tests_and_counts_those_of_ray(
    tmp_path: Path, ray: int, tests: int, code: int
) -> None:
    """Run it where ``make`` only says what it was asked for, and nothing is missing."""
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    text = script.read_text(encoding="utf-8")
    assert "set -euo pipefail" in text
    assert "make test " in (ROOT / "README.md").read_text(encoding="utf-8")
    (tmp_path / ".ci").mkdir()
    shutil.copy(script, tmp_path / ".ci")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in {*re.findall(r"command -v ([\w-]+)", text), "python3"}:
        (programs / name).write_text("#!/bin/sh\nexit 0\n")
        (programs / name).chmod(0o755)
    (programs / "make").write_text(
        '#!/bin/sh\necho "$CREWLAB_TEST make $*"\n'
        f'case "$1" in test) exit {tests} ;; test-ray) exit {ray} ;; esac\n'
    )
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    outcome = subprocess.run(
        ["bash", tmp_path / ".ci" / "run"],
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert outcome.returncode == code
    lines = outcome.stdout.splitlines()
    assert lines[0] == "whole make test-ray"
    assert lines[-1] == "whole make test"
    assert ("make test-ray FAILED" in outcome.stdout) == (ray != 0)


def test_workflows_may_only_read_and_pin_every_action() -> None:
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    assert workflows
    for path in workflows:
        workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert workflow["permissions"] == {"contents": "read"}
        steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
        actions = [step["uses"] for step in steps if "uses" in step]
        assert actions
        assert [name for name in actions if not re.fullmatch(r"[\w-]+/[\w-]+@v\d+", name)] == []
        assert all("timeout-minutes" in job for job in workflow["jobs"].values())
