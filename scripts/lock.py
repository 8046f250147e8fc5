"""Renews the locks from pyproject.toml, and what is made from the locks: `make lock`.

That is environment.yml and the requirements.txt of the take-home service's image.

A version that is already locked stays, unless pyproject.toml no longer allows it. To move one on:
`make lock`, after `rm requirements.lock`; or `.venv/bin/python scripts/lock.py --upgrade`.
With `--environment-only` the locks stay as they are and only environment.yml is written.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = Path("requirements.lock")
BENCH_LOCK = Path("requirements-bench.lock")
IMAGE = Path("template/deploy/requirements.txt")

EVERYWHERE = ("--universal", "--python-version", "3.11")
IN_THE_IMAGE = ("--python-version", "3.12", "--python-platform", "linux")

LOCK_TITLE = """\
# Made by `make lock`: every package of the course with its hashes,
# for Python 3.11 to 3.13 on Linux, macOS and Windows.
"""
BENCH_TITLE = """\
# Made by `make lock`: what `make bench` compares with, on top of requirements.lock,
# for Python 3.11 to 3.13 on Linux, macOS and Windows.
"""
IMAGE_TITLE = """\
# Made by `make lock`: every package of the take-home service's image with its hashes,
# for Python 3.12 on Linux, in the versions of the course's requirements.lock.
"""
ENVIRONMENT = """\
# Made by `make lock` from requirements.lock: the same versions for conda and for Binder.
# There are no hashes here, for pip refuses `-e .` beside them. Python is one version and not a
# range, for Binder takes a range for "any" and starts from one that is too old.
name: scale-crewai
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python=3.12
  - pip
  - pip:
"""


def main(arguments: Sequence[str]) -> int:
    """Writes the four files."""
    if "--environment-only" not in arguments:
        # The extra "ray" is large, and in the other lock.
        course = ["pyproject.toml", "--extra", "test", "--extra", "setup", *arguments]
        compile_lock(LOCK, LOCK_TITLE, course)
        bench = ["--group", "bench", "-", "--constraint", str(LOCK), *arguments]
        compile_lock(BENCH_LOCK, BENCH_TITLE, bench, given=extra("ray"))
        service = ["template/pyproject.toml", "--constraint", str(LOCK), *arguments]
        compile_lock(IMAGE, IMAGE_TITLE, service, IN_THE_IMAGE)
    environment = environment_yml((ROOT / LOCK).read_text(encoding="utf-8"))
    (ROOT / "environment.yml").write_text(environment, encoding="utf-8")
    return 0


def extra(name: str) -> str:
    """Gives the requirements of an extra of the course, a line each."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return "\n".join(settings["project"]["optional-dependencies"][name])


def compile_lock(
    lock: Path,
    title: str,
    what: Sequence[str],
    where: Sequence[str] = EVERYWHERE,
    given: str | None = None,
) -> None:
    """Has uv write a lock that holds where it is for, and puts its title on top.

    uv's own header would repeat the command with whatever index and paths this machine uses.
    """
    uv = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header"]
    options = [*where, "--generate-hashes", "--output-file", str(lock)]
    subprocess.run([*uv, *options, *what], cwd=ROOT, check=True, input=given, text=True)
    content = (ROOT / lock).read_text(encoding="utf-8")
    (ROOT / lock).write_text(title + content, encoding="utf-8")


def environment_yml(lock: str) -> str:
    """The text of environment.yml for the text of a lock.

    Each entry of the lock keeps its version and its marker; the course itself comes last.
    """
    entries = [line.removesuffix("\\").strip() for line in lock.splitlines() if line[:1].isalnum()]
    return ENVIRONMENT + "".join(f'    - "{entry}"\n' for entry in [*entries, "-e ."])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
