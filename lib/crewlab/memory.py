"""Memory in MiB, the unit of every figure and limit of the course."""

from __future__ import annotations

import psutil

MIB = 1024 * 1024
"""Bytes."""


def resident(process: psutil.Process) -> float:
    """Read the resident memory of a process.

    Returns:
        MiB.

    Raises:
        psutil.Error: it is gone, or not ours to look at.
    """
    return float(process.memory_info().rss / MIB)
