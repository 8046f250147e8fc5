"""What only some operating systems have."""

from __future__ import annotations

import os

from crewlab import workspace


def can_fork() -> bool:
    """Tell whether this system forks processes; says so to the learner where it does not.

    Returns:
        True on Linux and macOS. False on Windows, after one line on what to do.
    """
    if hasattr(os, "fork"):
        return True
    workspace.tell("Skipped: this system has no fork. Linux, macOS and WSL do.")
    return False
