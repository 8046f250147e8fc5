"""One pytest run for everything: plain tests, and every notebook of both editions under nbval.

``solutions/`` is compared strictly with its stored outputs; ``notebooks/`` only has to run.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.notebook_items import CELL_SECONDS, NotebookFile
from tests.whole import WHOLE

ROOT = Path(__file__).resolve().parent
STRICT = {"notebooks": False, "solutions": True}


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Give nbval its settings, so that a bare ``pytest`` is enough."""
    # Cells share their notebook's kernel; xdist's usual distribution would tear them apart.
    if config.getoption("dist", "no") == "load":
        config.option.dist = "loadfile"
    # --nbval itself stays off: it knows one mode for all notebooks, and would collect each twice.
    config.option.nbval_current_env = True
    config.option.nbval_cell_timeout = CELL_SECONDS
    config.option.nbval_sanitize_with = str(ROOT / "tests" / "nbval_sanitize.cfg")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only the whole run does."""
    if WHOLE:
        return
    named = {Path(argument.partition("::")[0]).name for argument in config.args}
    left_out = {item for item in items if is_for_the_whole_run(item, named)}
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


def is_for_the_whole_run(item: pytest.Item, named: set[str]) -> bool:
    """Say whether a test has to wait for the whole run.

    Of the learner's edition, chapter 00 stands for all: what the others have besides the solved
    edition is an untouched exercise, which the chapters' tests give to their checks as well. One
    that is named on the command line is run.
    """
    if item.path.parent == ROOT / "notebooks":
        return not item.path.name.startswith("00_") and item.path.name not in named
    return item.get_closest_marker("whole") is not None


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Take the notebooks of both editions, and no others."""
    folder = file_path.parent
    if file_path.suffix != ".ipynb" or folder.name not in STRICT:
        return None
    if folder.parent != parent.config.rootpath:
        return None
    return NotebookFile.from_parent(parent, path=file_path, strict=STRICT[folder.name])
