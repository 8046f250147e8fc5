"""What a replica runs to test a copy of the take-home service: an app, deployed with ``scale``.

A replica is a fresh process that has imported CrewAI already, which is most of what a test costs.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


class Watcher:
    """Notes how each test ended."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.failed: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Called by pytest after the set-up, the call and the end of each test."""
        crash = getattr(report.longrepr, "reprcrash", None)
        if report.failed:
            self.failed[report.nodeid] = crash.message if crash else str(report.longrepr)[-500:]
        elif report.when == "call" and report.passed:
            self.passed.append(report.nodeid)


def run(inputs: dict[str, Any]) -> str:
    """Run tests; ``inputs`` has the copy's ``folder`` and the ``tests``."""
    os.environ.update(PYTEST_DISABLE_PLUGIN_AUTOLOAD="1", PYTHONDONTWRITEBYTECODE="1")
    os.chdir(inputs["folder"])
    sys.path.insert(0, inputs["folder"])
    import pytest

    watcher = Watcher()
    options = ["-q", "-p", "no:cacheprovider", "-W", "ignore"]
    code = pytest.main([*options, *inputs["tests"]], plugins=[watcher])
    return json.dumps({"passed": watcher.passed, "failed": watcher.failed, "code": int(code)})
