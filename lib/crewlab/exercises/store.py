"""Keeps the learner's progress in one small file that survives whatever happens to it.

Several notebooks write to it at once: each change reads, alters and replaces the file under a lock.
What cannot be saved stays in memory and is saved together with the next change that can.
"""

from __future__ import annotations

import datetime
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crewlab import workspace

VERSION = 1
"""Of the file's layout. A file with a higher one belongs to a newer course and is left alone."""

State = dict[str, Any]
"""``{"version": 1, "quizzes": {name: {...}}, "chapters": {number: {...}}}``."""
Change = Callable[[State], None]


class NewerFile(Exception):
    """The file was written by a newer version of the course."""


class Store:
    """Progress, in a file or, without one, in memory.

    Args:
        path: the file; its folder exists. None keeps everything in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._unsaved: list[Change] = []
        self._told = False
        self._lock = threading.RLock()

    def read(self) -> State:
        """Give the state as it is now, with what could not be saved."""
        state = _empty()
        with self._lock:
            if self.path is not None:
                try:
                    with workspace.exclusive():
                        state = self._load(self.path)
                except (OSError, NewerFile) as problem:
                    self._tell(problem)
            for change in self._unsaved:
                change(state)
        return state

    def update(self, change: Change) -> None:
        """Apply a change to what is in the file now, and save it.

        Args:
            change: alters the state it is given; may run more than once, each time on a fresh one.
        """
        with self._lock:
            self._unsaved.append(change)
            if self.path is not None:
                try:
                    self._save(self.path)
                except (OSError, NewerFile) as problem:
                    self._tell(problem)

    def _save(self, path: Path) -> None:
        with workspace.exclusive():
            state = self._load(path)
            for change in self._unsaved:
                change(state)
            workspace.write_atomically(path, json.dumps(state, indent=1, sort_keys=True))
        self._unsaved.clear()

    def _load(self, path: Path) -> State:
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return _empty()
        except UnicodeDecodeError:
            return self._set_aside(path)
        try:
            state = json.loads(text)
        except (ValueError, RecursionError):
            return self._set_aside(path)
        version = state.get("version") if isinstance(state, dict) else None
        if isinstance(version, int) and version > VERSION:
            raise NewerFile
        return state if _is_sound(state) else self._set_aside(path)

    def _set_aside(self, path: Path) -> State:
        today = datetime.date.today().isoformat()
        aside = path.with_name(f"{path.stem}.damaged-{today}.json")
        number = 1
        while aside.exists():
            number += 1
            aside = path.with_name(f"{path.stem}.damaged-{today}-{number}.json")
        path.rename(aside)
        workspace.tell(
            "Your progress file is damaged, so counting starts again.\n"
            f"Nothing was deleted: the old file is now {aside.name}, beside the new one."
        )
        return _empty()

    def _tell(self, problem: Exception) -> None:
        if self._told:
            return
        self._told = True
        if isinstance(problem, NewerFile):
            what = "Your progress file was written by a newer version of this course"
            advice = "Update the course (`git pull`, `make lab`) to go on with it."
        else:
            reason = getattr(problem, "strerror", None) or problem
            what = f"Your progress cannot be saved: {reason}"
            advice = "Free the folder, or set CREWLAB_HOME to another one, and restart the kernel."
        workspace.tell(
            f"{what}.\nThe file is left as it is, and new answers count until the kernel ends.\n"
            f"{advice}"
        )


def _empty() -> State:
    return {"version": VERSION, "quizzes": {}, "chapters": {}}


def _is_sound(state: Any) -> bool:
    """Say whether a parsed file has the layout of this version, down to the types of its values."""
    if not isinstance(state, dict) or type(state.get("version")) is not int or state["version"] < 1:
        return False
    for part in ("quizzes", "chapters"):
        entries = state.get(part)
        if not isinstance(entries, dict):
            return False
        for entry in entries.values():
            if not isinstance(entry, dict):
                return False
            if not all(type(entry.get(key, 0)) is int for key in ("attempts", "hints", "first")):
                return False
            if not all(type(entry.get(key, True)) is bool for key in ("right", "solved")):
                return False
    return True
