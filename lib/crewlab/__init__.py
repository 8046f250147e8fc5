"""Helpers of the course "Scale CrewAI without the crash".

The names below are loaded when they are first used, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_ROOMS: dict[str, str] = {
    "App": "crewlab.app",
    "COMPANIES": "crewlab.companies",
    "Comparison": "crewlab.results.compare",
    "ContractBroken": "crewlab.results.run",
    "Eviction": "crewlab.deployment.evictions",
    "Run": "crewlab.results.run",
    "check": "crewlab.exercises.check",
    "compare": "crewlab.results.compare",
    "diff": "crewlab.results.diff",
    "explore": "crewlab.notebook.explorer",
    "growth": "crewlab.results.growth",
    "hint": "crewlab.exercises.hint",
    "preload": "crewlab.deployment",
    "progress": "crewlab.exercises.progress",
    "quiz": "crewlab.exercises.quiz",
    "scale": "crewlab.deployment",
}

_PARTS = ("capacity",)
"""Packages that are used by their own name, such as ``capacity.measure``."""

__all__ = sorted([*_ROOMS, *_PARTS])


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return importlib.import_module(f"crewlab.{name}")
    if name not in _ROOMS:
        raise AttributeError(f"module 'crewlab' has no attribute {name!r}")
    return getattr(importlib.import_module(_ROOMS[name]), name)


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
