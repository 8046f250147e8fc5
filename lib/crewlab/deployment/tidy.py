"""Shorter tracebacks, so that a reader sees whose line it is."""

from __future__ import annotations

import os
import re
from pathlib import Path

_PACKAGE = re.compile(r'File ".*?site-packages[/\\]')
_STANDARD = re.compile(r'File "[^"]*?[/\\](?:lib[/\\]python3\.\d+|Lib)[/\\]')
_OURS = re.compile(
    r'^  File "[^"]*(?:crewlab[/\\]deployment[/\\]\w+\.py|importlib[/\\]__init__\.py|'
    r'<frozen importlib[^"]*)".*\n'
    r"(?:    .*\n)*",
    re.MULTILINE,
)


def shorten(traceback: str, run_folder: Path) -> str:
    """Leave out what called the app, and the machine's own folders.

    Args:
        traceback: as Python formats it.
        run_folder: the run's temporary folder, which holds its copy of the app.

    Returns:
        The app's and its libraries' lines, with paths such as ``crewai/task.py``, ``broken.py``.
    """
    text = _OURS.sub("", traceback)
    for folder in (run_folder / "image", run_folder):
        text = text.replace(f"{folder}{os.sep}", "")
    return _STANDARD.sub('File "', _PACKAGE.sub('File "', text))
