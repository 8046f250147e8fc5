"""A witness in a replica: which kind of process asks the model, and which opens the database."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from crewlab.app import App
from crewlab.results.run import Run

Deed = Literal["model asked", "database opened"]
Place = Literal["replica", "job process"]

# Imports the learner's app and notes, in the replica's log, which kind of process does what.
_WITNESS = """
import os, sqlite3, sys

import httpx

REPLICA = os.getpid()


def note(what):
    where = "job process" if os.getpid() != REPLICA else "replica"
    os.write(1, f"\\nwitness: {{what}} in a {{where}}\\n".encode())  # whole, whoever else writes


def watch(owner, name, what, seen):
    original = getattr(owner, name)

    def noted(*args, **kwargs):
        if seen(args):
            note(what)
        return original(*args, **kwargs)

    setattr(owner, name, noted)


def asks_model(args):
    return len(args) > 1 and str(args[1].url).endswith("/chat/completions")


def is_apps(args):
    return sys._getframe(2).f_globals.get("__name__") == "{app}"


watch(httpx.Client, "send", "model asked", asks_model)
watch(httpx.AsyncClient, "send", "model asked", asks_model)
watch(sqlite3, "connect", "database opened", is_apps)

from {app} import run
"""


def with_witness(app: App, folder: Path) -> App:
    """Put a witness before an app.

    Args:
        app: the app, which stays as it is.
        folder: where to write the app that imports it, and a copy of it.

    Returns:
        An app that does the same, and says in its log what it does where.
    """
    shutil.copy(app.path, folder / app.path.name)
    path = folder / f"{app.name}_with_witness.py"
    path.write_text(_WITNESS.format(app=app.name), encoding="utf-8")
    return App.from_file(path)


def was_seen(run: Run, deed: Deed, place: Place) -> bool:
    """Tell whether the witness saw something done in a kind of process.

    Args:
        run: a run of what ``with_witness`` gave.
        deed: what was done; a database is opened by the app's own lines, with ``sqlite3``.
        place: the replica itself, or a process that it has started.
    """
    return any(f"witness: {deed} in a {place}" in replica.log for replica in run.replicas)
