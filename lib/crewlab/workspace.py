"""Where a learner's files live: the project, the work folder, and a folder for each notebook.

Two notebooks never write to one folder, whatever they are called:

* Jupyter's server tells a kernel its notebook (``JPY_SESSION_NAME``), VS Code does it through a
  variable. Such a notebook gets a folder with its own name, and finds its apps there next time.
  The folder belongs to the process that holds the lock on its ``.in-use`` file, and the system
  frees that lock however the process ends; another kernel gets ``<name>-2`` meanwhile.
* nbclient, nbval and ``jupyter execute`` tell the kernel nothing. Such a kernel works in the
  temporary folder of its process, which is removed with it.
* A plain Python process works in ``scratch``, locked likewise.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

LOCK_PATIENCE = 10.0
"""Seconds to wait for another notebook that is writing; it needs milliseconds."""

_homes: dict[Path, Path] = {}  # the folder wanted -> the folder used, once it has been tried
_claims: dict[tuple[Path, str], tuple[Path, IO[str]]] = {}


def tell(message: str) -> None:
    """Show a message to the learner, below the running cell or on the terminal."""
    print(message, flush=True)


def shell() -> Any | None:
    """Give the running IPython shell, or None outside IPython; never imports IPython."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None


def in_kernel() -> bool:
    """Say whether this process is a notebook's kernel."""
    return getattr(shell(), "kernel", None) is not None


def notebook() -> Path | None:
    """Find the notebook this kernel was started for.

    Returns:
        Its path as the front end gave it, or None when this is no kernel or nobody said
        (nbclient, nbval). A kernel knows the name its notebook had when the kernel was started.
    """
    if not in_kernel():
        return None
    namespace = getattr(shell(), "user_ns", {})
    name = os.environ.get("JPY_SESSION_NAME") or namespace.get("__vsc_ipynb_file__")
    return Path(name) if isinstance(name, str) and name.strip() else None


def live() -> bool:
    """Say whether a person sits before this kernel, whose front end can show widgets."""
    return notebook() is not None


def keeps_progress() -> bool:
    """Say whether answers given here count as the learner's.

    They do not in the solved edition, nor in a kernel that a tool started without naming a
    notebook: a test run must not solve the learner's exercises.
    """
    path = notebook()
    return path.parent.name != "solutions" if path else not in_kernel()


def project() -> Path:
    """Find the course's folder: the one with ``lib/crewlab`` in it, else the current folder."""
    here = Path(__file__).resolve()
    current = Path.cwd()
    for folder in (here.parents[2], current, *current.parents):
        if (folder / "lib" / "crewlab").is_dir():
            return folder
    return current


def home() -> Path:
    """Give the folder of everything a learner makes.

    Returns:
        ``$CREWLAB_HOME`` (a relative one is taken from the project), else ``work`` in the project.
        If that cannot be written: a temporary folder, with one message, gone with this process.

    Raises:
        OSError: not even a temporary folder can be made.
    """
    wanted = _wanted_home()
    if wanted not in _homes:
        try:
            wanted.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=wanted) as probe:  # asking beats reading permissions
                probe.write(b"a full disk shows here")
            _homes[wanted] = wanted
        except OSError as problem:
            leave_home(problem)
    return _homes[wanted]


def leave_home(problem: OSError) -> Path:
    """Continue in a temporary folder because the work folder cannot be written.

    Args:
        problem: what the system said.

    Returns:
        The new home; a second call gives the same one and stays silent.

    Raises:
        OSError: not even a temporary folder can be made.
    """
    wanted = _wanted_home()
    if _homes.get(wanted, wanted) == wanted:
        _homes[wanted] = _temporary_folder("home")
        tell(
            f"The work folder {wanted.name!r} cannot be written: {problem.strerror or problem}.\n"
            "Your apps and your progress are kept in a temporary folder until this kernel ends.\n"
            "Free the folder, or set CREWLAB_HOME to another one, and restart the kernel."
        )
    return _homes[wanted]


def chapter_folder(name: str | None = None) -> Path:
    """Give the folder that holds the apps of one chapter, for this process alone.

    Args:
        name: the chapter; None for the one of the running notebook (see the module's text).

    Returns:
        An existing folder inside ``home()``; the same one on every call in this process.

    Raises:
        OSError: it cannot be made.
    """
    if name is None and in_kernel() and notebook() is None:
        return _temporary_folder("apps")
    key = (home(), _folder_name(name))
    if key not in _claims:
        with exclusive():
            _claims[key] = _claim(*key)
    folder = _claims[key][0]
    folder.mkdir(parents=True, exist_ok=True)  # somebody may have tidied up meanwhile
    return folder


@contextlib.contextmanager
def exclusive() -> Iterator[None]:
    """Hold the work folder's lock, against other processes and threads.

    Raises:
        OSError: no lock within ``LOCK_PATIENCE`` seconds, or the folder cannot be written.
    """
    import portalocker

    try:
        with portalocker.Lock(home() / ".lock", "a", timeout=LOCK_PATIENCE, check_interval=0.02):
            yield
    except portalocker.LockException as problem:
        raise OSError("another notebook holds its lock") from problem


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that a reader, or a power cut, finds the old text or the new, never half.

    Args:
        path: the file, in an existing folder.
        text: what it shall contain, written as UTF-8.

    Raises:
        OSError: it cannot be written; the old file is untouched.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        _replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _temporary_folder(name: str) -> Path:
    """Give a folder that is gone with this process, even if it is killed."""
    from crewlab.deployment.scratch import scratch_folder

    folder = scratch_folder() / name
    folder.mkdir(exist_ok=True)
    return folder


def _wanted_home() -> Path:
    return project() / (os.environ.get("CREWLAB_HOME") or "work")


def _folder_name(name: str | None) -> str:
    if name is None:
        path = notebook()
        if path is None:
            return "scratch"
        # The two editions of a chapter have one name: the learner's gets the plain one.
        edition = path.parent.name
        name = path.stem if edition in ("", "notebooks") else f"{edition}-{path.stem}"
    return re.sub(r"[^\w-]+", "_", name).strip("_") or "scratch"


def _claim(parent: Path, name: str) -> tuple[Path, IO[str]]:
    """Take the first of ``name``, ``name-2``, ... that no living process has."""
    number = 1
    while True:
        folder = parent / (name if number == 1 else f"{name}-{number}")
        folder.mkdir(parents=True, exist_ok=True)
        lock = _try_lock(folder)
        if lock is not None:
            return folder, lock
        number += 1


def _try_lock(folder: Path) -> IO[str] | None:
    import portalocker

    file = (folder / ".in-use").open("a", encoding="utf-8")
    try:
        portalocker.lock(file, portalocker.LOCK_EX | portalocker.LOCK_NB)
    except portalocker.LockException:
        file.close()
        return None
    except BaseException:
        file.close()
        raise
    return file


def _replace(source: str, target: Path) -> None:
    for pause in (0.01, 0.05, 0.2):
        try:
            Path(source).replace(target)
            return
        except PermissionError:  # Windows, while somebody reads the old file
            if os.name != "nt":
                raise
            time.sleep(pause)
    Path(source).replace(target)
