"""The service on real uvicorn workers, for tests that need a server."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
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
        url: where it listens.
        process: uvicorn's parent process.
    """

    def __init__(self, url: str, process: subprocess.Popen[str], log: Path) -> None:
        self.url, self.process, self._log = url, process, log

    def ask(self, company: str, key: str) -> httpx.Response:
        """Send a job."""
        return httpx.post(f"{self.url}/reports", json={"company": company, "key": key}, timeout=60)

    def log(self) -> str:
        """Give what it has written so far."""
        return self._log.read_text(encoding="utf-8")

    def stop(self) -> int:
        """Send SIGTERM, wait, and give the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextlib.contextmanager
def serving(variables: dict[str, str], folder: Path, workers: int = 2) -> Iterator[Server]:
    """Run the service until the block ends; nothing of it is left then."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    log = folder / "log.txt"
    command = [
        *(sys.executable, "-m", "uvicorn", "service.app:app", "--host", "127.0.0.1"),
        *("--port", str(port), "--workers", str(workers), "--timeout-graceful-shutdown", "30"),
        *("--timeout-worker-healthcheck", "60", "--no-access-log"),
    ]
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=Path(__file__).parents[1],
            env={**os.environ, **variables},
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    server = Server(f"http://127.0.0.1:{port}", process, log)
    try:
        deadline = time.monotonic() + START_UP
        while server.log().count('"message": "ready"') < workers:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the service did not start:\n{server.log()}")
            time.sleep(0.1)
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
