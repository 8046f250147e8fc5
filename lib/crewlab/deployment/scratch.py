"""One temporary folder for everything the deployments of this process write.

It holds the replicas' disks and the fork server's socket. A small janitor process removes it when
this process ends, however it ends: a killed kernel cleans nothing up itself.
"""

from __future__ import annotations

import multiprocessing.util
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

_JANITOR = """
import shutil, sys, time
sys.stdin.read()
for _ in range(100):
    shutil.rmtree(sys.argv[1], ignore_errors=True)
    try:
        open(sys.argv[1]).close()
    except FileNotFoundError:
        break
    except OSError:
        time.sleep(0.1)
"""

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
            folder = Path(tempfile.mkdtemp(prefix="crewlab-")).resolve()
            _folders[os.getpid()] = folder
            _start_janitor(folder)
            _keep_multiprocessing_inside(folder)
        return folder


def _start_janitor(folder: Path) -> None:
    _janitors.append(
        subprocess.Popen(  # noqa: S603 - our own interpreter and text
            [sys.executable, "-I", "-S", "-c", _JANITOR, str(folder)],
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
