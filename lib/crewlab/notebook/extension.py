"""``%load_ext crewlab``: one line that makes a notebook a place to break and repair apps in."""

from __future__ import annotations

import contextlib
import importlib
import os
import time
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

from crewlab import workspace
from crewlab.notebook import app_magic, shutdown
from crewlab.notebook.show import show


@dataclass
class _Loaded:
    """What loading changed, so that unloading can change it back."""

    ipython: Any
    services: Any = None
    environment: dict[str, str | None] = field(default_factory=dict)  # what was there before
    names: dict[str, Any] = field(default_factory=dict)


_loaded: _Loaded | None = None

# JupyterLab breaks a long line of text output at its edge, in the middle of a word. The chapters'
# lines are sentences; they break between words, as they do above and below.
_WHOLE_WORDS = (
    "<style>.jp-OutputArea-output pre {word-break: normal !important;"
    " overflow-wrap: anywhere !important}</style>"
)


def load(ipython: Any) -> None:
    """Start the local services, warm replicas up, and put the course's words into the notebook.

    Prints one line. Does nothing else when the extension is loaded already. A service that does
    not start is reported in a message; everything else works nevertheless.

    Args:
        ipython: the running shell.
    """
    global _loaded
    if _loaded is None:
        _loaded = _Loaded(ipython)
        _start_services(_loaded)
        _preload()
        _register(_loaded)
    print(_announcement(_loaded))
    if workspace.live():
        show("", _WHOLE_WORDS)


def unload(ipython: Any) -> None:
    """Undo ``load``: stop the services, give the environment and the names back.

    Args:
        ipython: the running shell.
    """
    global _loaded
    if _loaded is None:
        return
    loaded, _loaded = _loaded, None
    ipython.events.unregister("pre_run_cell", _before_cell)
    ipython.magics_manager.magics["cell"].pop("app", None)
    ipython.drop_by_id(loaded.names)
    if loaded.services is not None:
        loaded.services.stop()
    for name, value in loaded.environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _start_services(loaded: _Loaded) -> None:
    try:
        loaded.services = importlib.import_module("crewlab.services").start()
    except Exception as problem:
        workspace.tell(
            f"The local services did not start: {_one_line(problem)}\n"
            "Apps cannot reach a model before they run.\n"
            "Run `crewlab check` in a terminal: it says what to do about each thing that fails."
        )
        return
    for name, value in loaded.services.environment.items():
        loaded.environment[name] = os.environ.get(name)
        os.environ[name] = value


def _preload() -> None:
    # Drawing needs matplotlib: half a second, best spent while the replicas warm up.
    importing = Thread(target=_import_pictures, name="import pictures", daemon=True)
    importing.start()
    try:
        importlib.import_module("crewlab.deployment").preload()
    except Exception as problem:  # slower, not impossible: the first run starts what it needs
        workspace.tell(f"Replicas cannot be warmed up, so the first run is slow: {problem}")


def _import_pictures() -> None:
    time.sleep(0.2)  # let the cell return first
    with contextlib.suppress(ImportError):
        importlib.import_module("crewlab.results.pictures")


def _register(loaded: _Loaded) -> None:
    ipython = loaded.ipython

    def app(line: str, cell: str) -> None:
        """Save this cell as the module NAME.py and bind NAME to the app: ``%%app NAME``."""
        app_magic.save(line, cell, ipython.user_ns)

    ipython.register_magic_function(app, "cell", "app")
    crewlab = importlib.import_module("crewlab")
    for name in app_magic.COURSE_NAMES:
        loaded.names[name] = loaded.services if name == "services" else getattr(crewlab, name)
    ipython.push(loaded.names, interactive=False)  # %who lists the learner's own names only
    ipython.events.register("pre_run_cell", _before_cell)
    shutdown.end_helpers_first(ipython)


def _before_cell(_info: Any = None) -> None:
    """Look after the services before each cell; costs a poll of one child process."""
    if _loaded is None or _loaded.services is None:
        return
    try:
        message = _loaded.services.ensure()
    except Exception as problem:
        message = (
            f"The local services stopped and do not start again: {_one_line(problem)}\n"
            "Restart the kernel; if that does not help, run `crewlab check` in a terminal."
        )
    if message:
        workspace.tell(message)


def _announcement(loaded: _Loaded) -> str:
    if loaded.services is None:
        return "Ready without local services: %%app saves an app, scale(app) runs it on replicas."
    here = "a model, a search and a storage service run on this machine"
    if not loaded.services.model_is_local:
        here = "your own model answers; a search and a storage service run on this machine"
    line = f"Ready: {here}; replicas warm up."
    if not workspace.live():  # a saved edition says the same however far its reader is
        return line
    from crewlab.exercises.progress import one_line

    return f"{line} {one_line()}"


def _one_line(problem: Exception) -> str:
    return (str(problem) or type(problem).__name__).splitlines()[0]
