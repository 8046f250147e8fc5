"""Two small chapters in place of the course's own, so that tests know every word of them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parent / "data" / "chapters"


def use() -> list[str]:
    """Let ``crewlab.chapters`` be the chapters 97 and 98 of the test data.

    Returns:
        The names in ``sys.modules`` that this sets or leads to.
    """
    package = ModuleType("crewlab.chapters")
    package.__path__ = [str(FOLDER)]
    sys.modules["crewlab.chapters"] = package
    names = ["crewlab.chapters.ch97", "crewlab.chapters.ch98"]
    for name in names:
        sys.modules.pop(name, None)
    return ["crewlab.chapters", *names]
