"""Makes the course's environment, or finds in a few milliseconds that it stands.

    python scripts/set_up.py                     # .venv from requirements.lock
    python scripts/set_up.py --into DIR LOCK...  # another environment, from several locks

`make` calls this through set_up.sh. On Windows it is called directly. It uses nothing outside the
standard library. The versions and hashes of everything it installs, uv and hatchling included,
come from the locks.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WINDOWS = os.name == "nt"
# Written last. An environment without it was interrupted while it was made, or is not ours.
STAMP = "crewlab-stamp.json"
# What tells one Python from another, asked of an interpreter in a process of its own.
IDENTITY = "import sys, platform; print(platform.python_version(), sys.base_prefix, sep=' ')"


class SetUpFailed(Exception):
    """Carries the lines for the learner: what happened, why, what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes or updates the environment; 0 when it stands, 1 after a message when it does not."""
    parser = argparse.ArgumentParser(description="Make the environment of the course.")
    parser.add_argument("--into", type=Path, default=Path(".venv"), help="folder, default .venv")
    parser.add_argument("--this-python", action="store_true", help="insist on this very Python")
    parser.add_argument("locks", nargs="*", default=["requirements.lock"])
    options = parser.parse_args(arguments)
    os.chdir(ROOT)
    try:
        with only_one_set_up():
            set_up(options.into, options.locks, options.this_python)
    except SetUpFailed as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. The next run makes the environment again.", file=sys.stderr)
        return 1
    return 0


def set_up(folder: Path, locks: Sequence[str], this_python: bool) -> None:
    """Does as little as brings `folder` in step with `locks`: nothing, an update, or all of it."""
    inputs = {name: digest(Path(name)) for name in (*locks, "pyproject.toml")}
    stamp = read_stamp(folder)
    reason = why_not_usable(folder, stamp, this_python)
    if reason is None and stamp.get("inputs") == inputs:
        return
    try:
        if reason is not None:
            make_anew(folder, reason)
        (folder / STAMP).unlink(missing_ok=True)
        install(folder, locks)
        write_stamp(folder, inputs)
    except OSError as problem:
        raise SetUpFailed(
            f"The environment {folder} could not be written.\n{problem}\n"
            "Close what uses it, see that the folder is yours and has space, and run this again."
        ) from problem


def why_not_usable(folder: Path, stamp: dict[str, object], this_python: bool) -> str | None:
    """Says why the environment must be made anew, or None when it can be kept."""
    if not folder.exists():
        return ""
    if not stamp:
        return "it was not finished"
    if stamp.get("folder") != str(ROOT / folder):
        return "it was moved here from another folder"
    identity = ask(python_of(folder), IDENTITY)
    if identity is None or identity != stamp.get("python"):
        return "its Python was changed or removed"
    if this_python and identity != ask(Path(sys.executable), IDENTITY):
        return "it was made by another Python"
    return None


def make_anew(folder: Path, reason: str) -> None:
    """Replaces `folder` by an environment that holds pip only."""
    if reason:
        print(f"Making {folder} again: {reason}.", flush=True)
    else:
        print(f"Making {folder} for the course, once. This takes a few minutes.", flush=True)
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
    # Not sys.executable: when this runs in the environment itself, that one has just been deleted.
    base = str(getattr(sys, "_base_executable", sys.executable))
    run([base, "-m", "venv", str(folder)], "Python could not make an empty environment.")


def install(folder: Path, locks: Sequence[str]) -> None:
    """Installs uv at the lock's version and hash, the locks, and the course itself, editable."""
    python = str(python_of(folder))
    install_uv(folder, uv_from_lock(Path(locks[0])))

    # A progress bar for a person, silence in a log.
    quiet = [] if sys.stderr.isatty() else ["--quiet"]
    uv = [python, "-m", "uv", "pip"]
    to_here = ["--python", python, *quiet]
    run([*uv, "sync", *to_here, "--require-hashes", *locks], "The packages could not be installed.")
    # With --no-build-isolation the lock's own hatchling builds it: nothing more is fetched.
    course = ["--no-deps", "--no-build-isolation", "-e", "."]
    run([*uv, "install", *to_here, *course], "The course's own package could not be installed.")


def install_uv(folder: Path, entry: str) -> None:
    """Has pip install the uv that a lock's `entry` names, unless it is there."""
    python = python_of(folder)
    installed = ask(python, "from importlib.metadata import version; print(version('uv'))")
    if entry.startswith(f"uv=={installed} "):
        return
    requirements = folder / "uv.lock.txt"
    requirements.write_text(entry, encoding="utf-8")
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    exactly = ["--no-deps", "--require-hashes", "-r", str(requirements)]
    run([*pip, *exactly], "uv could not be installed.")


def uv_from_lock(lock: Path) -> str:
    """The lock's entry of uv, with its hashes, for pip."""
    entry = re.search(r"^uv==.*?(?=^[a-z])", lock.read_text(encoding="utf-8"), re.M | re.S)
    if entry is None:
        raise SetUpFailed(f"{lock} is damaged.\nIt does not say which uv to use.\nRun: make lock")
    return entry.group()


def run(command: Sequence[str], failed: str) -> None:
    """Runs one step; its own output tells more when it fails."""
    # Settings for other environments must not steer this one.
    foreign = {"PYTHONHOME", "PYTHONPATH", "PIP_REQUIRE_VIRTUALENV", "PIP_USER", "UV_SYSTEM_PYTHON"}
    environment = {name: value for name, value in os.environ.items() if name not in foreign}
    # Compiled once, by all cores: without that the first import of CrewAI takes twice as long, and
    # every import where PYTHONDONTWRITEBYTECODE is set, as in many containers.
    environment.setdefault("UV_COMPILE_BYTECODE", "1")
    done = subprocess.run(command, env=environment, check=False)
    if done.returncode:
        raise SetUpFailed(
            f"{failed}\nThe reason is in the lines above (the usual ones: no network, a full disk)."
            "\nPut that right and run the same command again; it starts over by itself."
        )


def ask(python: Path, question: str) -> str | None:
    """What `python` prints to a question, or None when it does not run."""
    try:
        command = [str(python), "-I", "-c", question]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def python_of(folder: Path) -> Path:
    """The interpreter of an environment."""
    return folder / ("Scripts/python.exe" if WINDOWS else "bin/python")


def digest(file: Path) -> str:
    """SHA-256 of a file's content; modification times say nothing after a checkout."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def read_stamp(folder: Path) -> dict[str, object]:
    """The stamp of an environment, or {} when it has none that can be read."""
    try:
        stamp = json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(folder: Path, inputs: dict[str, str]) -> None:
    """Declares the environment whole, in one step that cannot be seen half done."""
    python = ask(python_of(folder), IDENTITY)
    stamp = {"folder": str(ROOT / folder), "python": python, "inputs": inputs}
    unfinished = folder / f"{STAMP}.new"
    unfinished.write_text(json.dumps(stamp, indent=1), encoding="utf-8")
    unfinished.replace(folder / STAMP)


@contextmanager
def only_one_set_up() -> Iterator[None]:
    """Lets a second `make` in the same folder wait for the first one's set-up (POSIX only)."""
    if WINDOWS:
        yield
        return
    import fcntl

    # The lock is on the folder itself: no file to leave behind, and a killed set-up lets go.
    handle = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another set-up runs in this folder; waiting for it.", flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


if __name__ == "__main__":
    sys.exit(main())
