"""Capacity on paper: what one replica and one request cost, measured, and what n of them cost.

``measure`` takes the figures from real runs, ``verify`` sets the model's predictions beside what
more replicas really took, and ``calculator`` carries it to any number of replicas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crewlab.lazily import lazily

if TYPE_CHECKING:
    from crewlab.capacity.measuring import measure
    from crewlab.capacity.model import Deployment, Measured
    from crewlab.capacity.verifying import verify
    from crewlab.capacity.widget import calculator

__all__ = ["Deployment", "Measured", "calculator", "measure", "verify"]

__getattr__ = lazily(
    __name__,
    {
        "Deployment": "model",
        "Measured": "model",
        "calculator": "widget",
        "measure": "measuring",
        "verify": "verifying",
    },
)
