"""What each worker of an engine does first: import the app, and tell that it can take requests."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType


def load_module() -> ModuleType:
    """Import the app's file as a module of its own name.

    Returns:
        The module.

    Raises:
        BaseException: whatever it raises at import.
    """
    path = Path(os.environ["CREWLAB_APP"])
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path.name} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def crewai_version() -> str:
    """Give the version of CrewAI that this process has imported, else the installed one."""
    imported = getattr(sys.modules.get("crewai"), "__version__", None)
    return str(imported or importlib.metadata.version("crewai"))


def say_ready() -> None:
    """Leave this worker's mark, with the version of CrewAI it runs."""
    folder = Path(os.environ["CREWLAB_READY"])
    mark = folder.parent / f"mark-{os.getpid()}"
    mark.write_text(crewai_version(), encoding="utf-8")
    mark.replace(folder / str(os.getpid()))  # whoever sees it finds it written
