"""Build the two editions of each chapter from its one source.

``chapters/NN_name.md`` is the only text an author edits. ``notebooks/NN_name.ipynb`` is the
learner's edition and ``solutions/NN_name.ipynb`` the solved one, executed.
"""

from __future__ import annotations

from crewlab.building.builder import Built, build, find_stale
from crewlab.building.errors import BuildError
from crewlab.building.project import LEARNER_FOLDER, SOLVED_FOLDER, Project
from crewlab.building.review import format_code, review

__all__ = [
    "LEARNER_FOLDER",
    "SOLVED_FOLDER",
    "BuildError",
    "Built",
    "Project",
    "build",
    "find_stale",
    "format_code",
    "review",
]
