"""Finding what a program left behind: processes by a mark in their environment, files by folder."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

MARK = "CREWLAB_TEST_MARK"


def marked(mark: str) -> list[psutil.Process]:
    """List the living processes that inherited a mark.

    Args:
        mark: the value of the environment variable ``MARK`` they were started with.
    """
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):  # gone meanwhile, or another user's
            continue
    return found


def using(folder: Path) -> set[int]:
    """Give the ids of the living processes that work in a folder, or name it in their command.

    Args:
        folder: a folder, which may be gone by now.
    """
    found = set()
    for process in psutil.process_iter():
        try:
            places = [process.cwd(), *process.cmdline()]
            if process.status() != psutil.STATUS_ZOMBIE and any(str(folder) in p for p in places):
                found.add(process.pid)
        except (psutil.Error, OSError):  # gone meanwhile, or another user's
            continue
    return found


def wait_until_gone(mark: str, seconds: float = 5.0) -> list[str]:
    """Wait for marked processes to end.

    Args:
        mark: see ``marked``.
        seconds: how long.

    Returns:
        The command lines of those still alive; empty when none is.
    """
    deadline = time.monotonic() + seconds
    while (alive := marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return [describe(process) for process in alive]


def describe(process: psutil.Process) -> str:
    """Say what a process is, and where it listens."""
    try:
        ports = [c.laddr.port for c in process.net_connections() if c.status == "LISTEN"]
        return f"{process.pid} {' '.join(process.cmdline())[:160]} listening on {ports}"
    except psutil.Error:
        return f"{process.pid} (gone meanwhile)"


def wait_until_empty(folder: Path, seconds: float = 5.0) -> list[str]:
    """Wait for a folder to be emptied.

    Args:
        folder: an existing folder.
        seconds: how long.

    Returns:
        What is still in it, by name.
    """
    deadline = time.monotonic() + seconds
    while (left := sorted(path.name for path in folder.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left
