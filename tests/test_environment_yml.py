"""environment.yml gives conda and Binder what the lock gives everybody else.

conda writes the `pip:` section to `condaenv.XXXXXXXX.requirements.txt` beside environment.yml and
has the new environment's pip run `install -U -r FILE --exists-action=b` in that folder. The same
is done here, with the newest pip, as conda-forge has it.

By default pip only reports what it would install (`--dry-run`): it reads the file, resolves it
from nothing and builds the course's metadata, but leaves out a gigabyte of unpacking. The course
itself is then installed. With CREWLAB_TEST=whole everything is installed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.test_setup import ROOT, load_script, packages_can_be_fetched, set_up
from tests.whole import WHOLE

# Part of an environment of its own: not asked for by any lock.
PART_OF_PYTHON = {"pip", "setuptools", "wheel"}


def pip_section() -> list[str]:
    document = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    sections = [entry["pip"] for entry in document["dependencies"] if isinstance(entry, dict)]
    assert len(sections) == 1
    return [str(line) for line in sections[0]]


def locked_here() -> dict[str, str]:
    """Name and version of everything the lock has for this system and this Python."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line.rstrip(" \\")) for line in lines if line[:1].isalnum()]
    here = [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in here}


def test_environment_yml_is_in_step_with_the_lock() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    written = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert written == load_script("lock").environment_yml(lock), "run `make lock`"


def test_environment_yml_names_one_python_that_the_course_supports() -> None:
    document = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    python, pip = (entry for entry in document["dependencies"] if isinstance(entry, str))
    # Binder understands no other way of writing it.
    version = re.fullmatch(r"python=(\d+\.\d+)", python)
    assert version is not None
    assert SpecifierSet(settings["project"]["requires-python"]).contains(version.group(1))
    assert pip == "pip"


def test_the_readme_names_the_environment_as_environment_yml_does() -> None:
    document = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"conda run (?:-n|--name) (\S+)", readme) == [document["name"]]


def test_nothing_stands_before_environment_yml_for_binder() -> None:
    # Binder reads a folder of this name instead of environment.yml.
    assert not (ROOT / "binder").exists()
    assert not (ROOT / ".binder").exists()


@dataclass
class Outcome:
    python: Path
    versions: dict[str, str]


@pytest.fixture(scope="module")
def as_conda_does(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """Runs conda's own pip command on a copy of the course, in an environment that has only pip."""
    folder = tmp_path_factory.mktemp("conda")
    if not os.environ.get("CI") and not packages_can_be_fetched(folder):
        pytest.skip("no package index can be reached")
    course = folder / "course"
    course.mkdir()
    for name in ("environment.yml", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, course)
    shutil.copytree(ROOT / "lib", course / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    requirements = course / "condaenv.q1w2e3r4.requirements.txt"
    requirements.write_text("\n".join(pip_section()), encoding="utf-8")

    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = set_up.python_of(environment)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "-U", "pip"], check=True)

    command = [python, "-m", "pip", "install", "-U", "-r", str(requirements), "--exists-action=b"]
    report = folder / "report.json"
    if WHOLE:
        run_pip(command, course)
        versions = present(python)
    else:
        run_pip([*command, "--dry-run", "--report", str(report)], course)
        versions = chosen(report)
        run_pip([python, "-m", "pip", "install", "--no-deps", "-e", "."], course)
    yield Outcome(python, versions)
    shutil.rmtree(folder)


def run_pip(command: list[str | Path], course: Path) -> None:
    done = subprocess.run(
        command,
        cwd=course,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def chosen(report: Path) -> dict[str, str]:
    """What pip's report says it would install."""
    entries = json.loads(report.read_text(encoding="utf-8"))["install"]
    found = [entry["metadata"] for entry in entries]
    return {canonicalize_name(one["name"]): one["version"] for one in found}


def present(python: Path) -> dict[str, str]:
    """What an environment has."""
    command = [python, "-m", "pip", "list", "--format=json"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    return {canonicalize_name(one["name"]): one["version"] for one in json.loads(listed.stdout)}


@pytest.mark.whole
@pytest.mark.timeout(600)
def test_condas_pip_command_gives_exactly_the_versions_of_the_lock(as_conda_does: Outcome) -> None:
    given = {n: v for n, v in as_conda_does.versions.items() if n not in PART_OF_PYTHON}
    assert given.pop("crewlab")
    wanted = {n: v for n, v in locked_here().items() if n not in PART_OF_PYTHON}
    assert given == wanted


@pytest.mark.whole
def test_the_course_can_be_imported_after_condas_pip_command(as_conda_does: Outcome) -> None:
    command = [as_conda_does.python, "-c", "import crewlab; print(crewlab.__file__)"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT.anchor)
    assert Path(answer.stdout.strip()).parent.name == "crewlab"
    assert ROOT not in Path(answer.stdout.strip()).parents
