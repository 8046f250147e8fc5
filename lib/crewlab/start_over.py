"""``crewlab reset``: remove what a learner made, and keep a copy of the progress."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path

PROGRESS = "progress.json"
IN_USE = ".in-use"


class StillOpen(Exception):
    """Notebooks are open whose folders would be removed; ``args[0]`` lists their names."""


def find_folders(home: Path) -> list[Path]:
    """List the folders that notebooks made; anything else in the work folder is not ours.

    Args:
        home: the work folder; it may be any folder of the learner's, even one with other files.
    """
    return sorted(mark.parent for mark in home.glob(f"*/{IN_USE}"))


def reset(home: Path, *, keep_progress: bool = False) -> Path | None:
    """Remove the notebooks' folders, and set the progress aside.

    Args:
        home: the work folder.
        keep_progress: leave the progress as it is.

    Returns:
        The copy of the progress; None if there was none or it is kept.

    Raises:
        StillOpen: a running notebook holds one of the folders; nothing was removed.
        OSError: something cannot be removed.
    """
    folders = find_folders(home)
    still_open = [folder.name for folder in folders if _is_open(folder)]
    if still_open:
        raise StillOpen(still_open)
    for folder in folders:
        shutil.rmtree(folder)
    progress = home / PROGRESS
    if keep_progress or not progress.is_file():
        return None
    copy = _free_name(progress)
    progress.replace(copy)
    return copy


def _is_open(folder: Path) -> bool:
    import portalocker

    with (folder / IN_USE).open("a", encoding="utf-8") as file:
        try:
            portalocker.lock(file, portalocker.LOCK_EX | portalocker.LOCK_NB)
        except portalocker.LockException:
            return True
    return False


def _free_name(progress: Path) -> Path:
    """Name the copy after today; an earlier copy is never overwritten."""
    today = datetime.date.today().isoformat()
    number = 1
    while True:
        more = "" if number == 1 else f"-{number}"
        copy = progress.with_name(f"{progress.stem}.before-reset-{today}{more}.json")
        if not copy.exists():
            return copy
        number += 1
