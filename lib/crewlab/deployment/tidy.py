"""Shorter paths in tracebacks, so that a reader sees which package a line is from."""

from __future__ import annotations

import re
from pathlib import Path

_PACKAGE = re.compile(r'File ".*?site-packages/')
_STANDARD = re.compile(r'File "[^"]*?/lib/python3\.\d+/')


def shorten(traceback: str, run_folder: Path) -> str:
    """Cut the machine's own folders off the paths in a traceback.

    Args:
        traceback: as Python formats it.
        run_folder: the run's temporary folder, which holds its copy of the app.

    Returns:
        The same text with paths such as ``crewai/task.py`` and ``broken.py``.
    """
    text = traceback.replace("\\", "/") if "\\site-packages\\" in traceback else traceback
    text = text.replace(f"{run_folder}/image/", "").replace(f"{run_folder}/", "")
    return _STANDARD.sub('File "', _PACKAGE.sub('File "', text))
