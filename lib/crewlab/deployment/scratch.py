"""One temporary folder for everything the deployments of this process write.

It holds the replicas' disks and the fork server's socket. A small janitor process removes it when
this process ends, however it ends: a killed kernel cleans nothing up itself. The janitor also ends
the processes that are named in the folder then: a stopped replica cannot see its kernel die, and a
fork server sees it only after its imports. And it removes the folders that are linked to from
``elsewhere``: those that need a shorter path.
"""

from __future__ import annotations

import multiprocessing.util
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

_JANITOR = """
import os, shutil, signal, sys, time
sys.stdin.read()
try:
    pids = [int(name) for name in os.listdir(os.path.join(sys.argv[1], "pids"))]
except OSError:
    pids = []
for pid in pids:
    for kill in ("killpg", "kill"):
        try:
            getattr(os, kill)(pid, signal.SIGKILL)
        except (AttributeError, OSError):
            pass
folders = sys.argv[1:]
try:
    links = os.path.join(folders[0], "elsewhere")
    folders += [os.path.realpath(os.path.join(links, name)) for name in os.listdir(links)]
except OSError:
    pass
for _ in range(100):
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    if not any(map(os.path.exists, folders)):
        break
    time.sleep(0.1)
"""
LONGEST_SOCKET_PATH = 100
"""Bytes; the systems' own limits are 104 (macOS) and 108 (Linux, unix(7))."""
ENOUGH_MEMORY = 2**30
SOCKET_NAME = len("/pymp-12345678/listener-12345678")

_lock = threading.Lock()
_folders: dict[int, Path] = {}
_janitors: list[subprocess.Popen[bytes]] = []


def scratch_folder() -> Path:
    """Give this process's temporary folder, made at the first call.

    Returns:
        An absolute path; the folder is gone soon after this process is.

    Raises:
        OSError: the system's temporary folder is full or cannot be written.
    """
    with _lock:
        folder = _folders.get(os.getpid())
        if folder is None or not folder.is_dir():
            folder = Path(tempfile.mkdtemp(prefix="crewlab-", dir=_place())).resolve()
            (folder / "pids").mkdir()
            _folders[os.getpid()] = folder
            sockets = _folder_for_sockets(folder)
            _start_janitor(folder, sockets)
            _keep_multiprocessing_inside(sockets)
        return folder


def short_folder(longest_name: int) -> Path:
    """Make a folder whose path leaves room for the names of Unix sockets.

    Args:
        longest_name: bytes of the longest path below it, the first slash included.

    Returns:
        An absolute path; whoever asked for it removes it, and the janitor if this process cannot.
    """
    folder = scratch_folder()
    if len(os.fsencode(folder)) + len("/r-12345678") + longest_name <= LONGEST_SOCKET_PATH:
        return Path(tempfile.mkdtemp(prefix="r-", dir=folder))
    made = Path(tempfile.mkdtemp(prefix="crewlab-", dir="/tmp"))
    (folder / "elsewhere").mkdir(exist_ok=True)
    (folder / "elsewhere" / made.name).symlink_to(made)
    return made


def _place() -> str | None:
    """Choose memory over disk for it, where Linux offers enough and nothing else is asked for.

    Each kickoff commits to SQLite four times, and each commit waits for the disk: 73 ms each where
    this was measured, a third of the whole kickoff.
    """
    memory = Path("/dev/shm")  # noqa: S108 - private, made by mkdtemp
    if "TMPDIR" in os.environ or not os.access(memory, os.W_OK):
        return None
    return str(memory) if shutil.disk_usage(memory).free >= ENOUGH_MEMORY else None


def remember_process(pid: int) -> None:
    """Have the janitor end this process, and its group, if this one dies first."""
    if pid > 0:
        (scratch_folder() / "pids" / str(pid)).touch()


def forget_process(pid: int) -> None:
    """Tell the janitor that a process has ended: its id may become another's."""
    (scratch_folder() / "pids" / str(pid)).unlink(missing_ok=True)


def _folder_for_sockets(folder: Path) -> Path:
    """Give a folder whose path leaves room for the name of a Unix socket."""
    if os.name != "posix" or len(os.fsencode(folder)) + SOCKET_NAME <= LONGEST_SOCKET_PATH:
        return folder
    return Path(tempfile.mkdtemp(prefix="crewlab-", dir="/tmp"))


def _start_janitor(*folders: Path) -> None:
    _janitors.append(
        subprocess.Popen(  # noqa: S603 - our own interpreter and text
            [sys.executable, "-I", "-S", "-c", _JANITOR, *map(str, folders)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/" if os.name == "posix" else None,
            start_new_session=True,
        )
    )


def _keep_multiprocessing_inside(folder: Path) -> None:
    """Have the fork server's socket made in the folder, so that it goes with it."""
    before = tempfile.tempdir
    tempfile.tempdir = str(folder)
    try:
        multiprocessing.util.get_temp_dir()
    finally:
        tempfile.tempdir = before
