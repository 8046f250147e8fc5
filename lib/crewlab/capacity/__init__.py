"""Capacity on paper: what one replica and one request cost, measured, and what n of them cost.

``measure`` takes the figures from real runs, ``verify`` sets the model's predictions beside what
more replicas really took, and ``calculator`` carries it to any number of replicas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crewlab.capacity.measuring import measure
    from crewlab.capacity.model import Deployment, Measured
    from crewlab.capacity.verifying import verify
    from crewlab.capacity.widget import calculator

__all__ = ["Deployment", "Measured", "calculator", "measure", "verify"]

_ROOMS = {
    "Deployment": "model",
    "Measured": "model",
    "calculator": "widget",
    "measure": "measuring",
    "verify": "verifying",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
