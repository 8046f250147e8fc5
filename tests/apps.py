"""Makes small apps without CrewAI, for tests of the deployment itself."""

from __future__ import annotations

import textwrap
from pathlib import Path

from crewlab import App


def write_app(folder: Path, body: str, name: str = "app") -> App:
    """Save a module and give the app."""
    path = folder / f"{name}.py"
    path.write_text(textwrap.dedent(body), encoding="utf-8")
    return App.from_file(path)


ECHO = """
    def run(inputs):
        return f"Report on {inputs['company']}."
"""
