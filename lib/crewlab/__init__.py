"""Helpers of the course "Scale CrewAI without the crash".

The names below are loaded when they are first used, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from crewlab.lazily import lazily

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_ROOMS: dict[str, str] = {
    "App": "app",
    "COMPANIES": "companies",
    "Comparison": "results.compare",
    "ContractBroken": "results.run",
    "Eviction": "deployment.evictions",
    "Run": "results.run",
    "check": "exercises.check",
    "compare": "results.compare",
    "diff": "results.diff",
    "explore": "notebook.explorer",
    "growth": "results.growth",
    "hint": "exercises.hint",
    "preload": "deployment",
    "progress": "exercises.progress",
    "quiz": "exercises.quiz",
    "scale": "deployment",
}

_look_up = lazily(__name__, _ROOMS)

_PARTS = ("capacity",)
"""Packages that are used by their own name, such as ``capacity.measure``."""

__all__ = sorted([*_ROOMS, *_PARTS])


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return importlib.import_module(f"crewlab.{name}")
    return _look_up(name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def load_ipython_extension(ipython: InteractiveShell) -> None:
    """Make ``%load_ext crewlab`` set a notebook up."""
    from crewlab.notebook.extension import load

    load(ipython)


def unload_ipython_extension(ipython: InteractiveShell) -> None:
    """Undo ``%load_ext crewlab``."""
    from crewlab.notebook.extension import unload

    unload(ipython)
