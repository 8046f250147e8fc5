"""The service on real uvicorn workers, for tests that need a server."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

START_UP = 120.0  # s; each worker imports CrewAI for itself


class Server:
    """A running service.

    Attributes:
        process: uvicorn's parent process.
    """

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process, self._log = process, log

    @property
    def url(self) -> str:
        """Where it listens; empty before it does."""
        found = re.search(r"running on (http://127\.0\.0\.1:\d+)", self.log())
        return found[1] if found else ""

    def ask(self, company: str, key: str) -> httpx.Response:
        """Send a job."""
        return httpx.post(f"{self.url}/reports", json={"company": company, "key": key}, timeout=60)

    def ask_until_served(self, company: str, key: str, patience: float = 60) -> httpx.Response:
        """Send a job, and again after the seconds of Retry-After while it has no place or time."""
        deadline = time.monotonic() + patience
        while (answer := self.ask(company, key)).status_code in (503, 504):
            if time.monotonic() > deadline:
                break
            time.sleep(float(answer.headers["Retry-After"]))
        return answer

    def log(self) -> str:
        """Give what it has written so far."""
        return self._log.read_text(encoding="utf-8")


@contextlib.contextmanager
def serving(variables: dict[str, str], folder: Path, workers: int = 2) -> Iterator[Server]:
    """Run the service until the block ends; nothing of it is left then."""
    log = folder / "log.txt"
    ours = {"SERVICE_PORT": "0", "SERVICE_WORKERS": str(workers)}
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "service"],
            cwd=Path(__file__).parents[1],
            env={**os.environ, **variables, **ours},
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    server = Server(process, log)
    try:
        deadline = time.monotonic() + START_UP
        while not server.url or server.log().count('"message": "ready"') < workers:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the service did not start:\n{server.log()}")
            time.sleep(0.1)
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
