"""Runs the take-home service of ``template/`` on real uvicorn workers, and sends it customers.

What is ours here: the customers and their patience. The command, the workers, the limits and the
end are the template's own: ``python -m service``, in its folder.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from crewlab.companies import default_requests
from crewlab.deployment.container import certificates_for, leave_jupyter_out
from crewlab.deployment.launch import kill_group
from crewlab.deployment.scratch import forget_process, remember_process, scratch_folder
from crewlab.engines.customers import Answers, Customers
from crewlab.errors import Told
from crewlab.memory import resident
from crewlab.results.records import ReplicaRecord
from crewlab.takehome.checklist import template

START_UP = 120.0  # s; each worker imports CrewAI for itself
THE_END = 60.0  # s from SIGTERM to the last worker's end
LIMITS = {"SERVICE_KICKOFFS": "6", "SERVICE_WAITING": "2"}

_running: list[Service] = []


class NotRunning(Told):
    """The service has ended, or does not end."""


class Service:
    """A running take-home service: one uvicorn parent and its workers.

    Attributes:
        workers: how many.
    """

    def __init__(self, workers: int, env: Mapping[str, str | None]) -> None:
        self.workers = workers
        self._started = time.time()
        self._told_to_end = False
        self._kickoffs = env.get("SERVICE_KICKOFFS") or LIMITS["SERVICE_KICKOFFS"]
        self._folder = Path(tempfile.mkdtemp(prefix="service-", dir=scratch_folder()))
        self._log = self._folder / "log.txt"
        own = self._folder / "tmp"
        own.mkdir()
        image = self._folder / "image"
        image.mkdir()
        leave_jupyter_out(image)
        variables: dict[str, str | None] = {
            **os.environ,
            "CREWAI_STORAGE_DIR": str(self._folder / "crewai"),
            **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(own)),  # CrewAI's locks are files
            "SERVICE_WORKERS": str(workers),
            "SERVICE_PORT": "0",
            "PYTHONPATH": os.pathsep.join([str(image), os.environ.get("PYTHONPATH", "")]),
            "PYTHONDONTWRITEBYTECODE": "1",
            **LIMITS,
            **certificates_for(os.environ),
            **env,
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "service"],
                cwd=template(),
                env={name: value for name, value in variables.items() if value is not None},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        remember_process(self._process.pid)

    @property
    def port(self) -> int:
        """Where it listens on this machine; 0 before it does."""
        found = re.search(r"running on http://127\.0\.0\.1:(\d+)", self.log())
        return int(found[1]) if found else 0

    def log(self) -> str:
        """Give all that it has written so far."""
        if not self._log.exists():
            return ""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def lines(self, message: str) -> list[dict[str, Any]]:
        """Give its log lines with one message, as the data they are.

        Args:
            message: the whole message, such as "done".
        """
        found = []
        for line in self.log().splitlines():
            with contextlib.suppress(ValueError):
                said = json.loads(line)
                if isinstance(said, dict) and said.get("message") == message:
                    found.append(said)
        return found

    def wait_until_ready(self, at_most: float | None = None) -> Service:
        """Wait until every worker takes customers.

        Args:
            at_most: seconds after which to return in any case, so that a cell stays short on a
                busy machine; whatever needs the workers waits on.

        Raises:
            NotRunning: it ended, or is not ready in time; says what it wrote last.
        """
        began = time.monotonic()
        while at_most is None or time.monotonic() < began + at_most:
            has_ended = self._process.poll() is not None
            if not has_ended and self.port and len(self.lines("ready")) >= self.workers:
                return self
            if has_ended or time.monotonic() > began + START_UP:
                raise NotRunning(
                    "The service does not run (any more).\n"
                    f"The last it wrote: {self.log()[-300:].strip() or 'nothing'}\n"
                    "Run the cell that starts it again."
                )
            time.sleep(0.05)
        return self

    def wait_for_end(self) -> int:
        """Wait until it has ended by itself, and clear up after it.

        Returns:
            Its exit code.

        Raises:
            NotRunning: it goes on running; it is killed.
        """
        try:
            return self._process.wait(THE_END)
        except subprocess.TimeoutExpired:
            raise NotRunning("The service did not end by itself; it was killed.") from None
        finally:
            self.stop()

    def get(self, path: str) -> tuple[int, Any]:
        """Ask one worker for a page, such as "/ready"; give status and content."""
        customers = Customers(self.wait_until_ready().port, [{}], patience=START_UP)
        reply = customers.request("GET", path)
        return reply.status, reply.body

    def ask(
        self,
        jobs: Sequence[Mapping[str, str]],
        *,
        come_back: bool = False,
        when: Callable[[Answers], bool] | None = None,
        do: Callable[[], object] | None = None,
        timeout: float = 60.0,
    ) -> Answers:
        """Send jobs, all at once, and wait for every outcome.

        Args:
            jobs: see ``new_jobs``.
            come_back: whether a customer who is refused with a Retry-After comes back after it,
                with the same key.
            when: looked at again and again while they wait, with the answers so far.
            do: called once, as soon as ``when`` holds.
            timeout: seconds a customer has, all attempts together.

        Returns:
            The answers: each customer with exactly one outcome.

        Raises:
            NotRunning: the service does not run.
        """
        port = self.wait_until_ready().port
        customers = Customers(port, jobs, patience=timeout, come_back=come_back)
        answers = customers.send_all(self._records_at_last, when, do)
        answers.startup_seconds = self._startup_seconds()
        answers.threads = int(self._kickoffs)
        return answers

    def records(self) -> list[ReplicaRecord]:
        """Give one record a worker, as it is now."""
        here = self._worker_processes()
        records = []
        for number in range(self.workers):
            record = ReplicaRecord(f"service-{number}", "Completed")
            if number < len(here):
                with contextlib.suppress(psutil.Error):
                    record.peak_memory = resident(here[number])
                    record.status, record.ready = "Running", True
            records.append(record)
        return records

    def _records_at_last(self) -> list[ReplicaRecord]:
        """Give the records; after SIGTERM, once the workers have had time to end."""
        deadline = time.monotonic() + THE_END
        while self._told_to_end and self._worker_processes() and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.records()

    def terminate(self) -> None:
        """Send SIGTERM, as every orchestrator does, and wait until the workers have heard it.

        Raises:
            NotRunning: they do not hear it.
        """
        self._told_to_end = True
        self._process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + THE_END
        while len(self.lines("Shutting down")) < self.workers:
            if time.monotonic() > deadline:
                raise NotRunning("The workers did not hear SIGTERM.")
            time.sleep(0.02)

    def stop(self) -> None:
        """End whatever is left of it, at once; does nothing the second time."""
        if self in _running:
            _running.remove(self)
        workers = self._worker_processes()
        if os.name == "posix":
            kill_group(self._process.pid)
        for process in workers:
            with contextlib.suppress(psutil.Error):
                process.kill()
        with contextlib.suppress(OSError):
            self._process.kill()
        self._process.wait()
        forget_process(self._process.pid)

    def _startup_seconds(self) -> float:
        last = max(line["time"] for line in self.lines("ready"))
        return datetime.strptime(last, "%Y-%m-%d %H:%M:%S,%f").timestamp() - self._started

    def _worker_processes(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            children = psutil.Process(self._process.pid).children()
            # As multiprocessing starts them: on POSIX, and on Windows.
            marks = ("spawn_main", "--multiprocessing-fork")
            return [c for c in children if any(mark in " ".join(c.cmdline()) for mark in marks)]
        return []


def start(workers: int = 2, env: Mapping[str, str | None] | None = None) -> Service:
    """Start the take-home service against this machine's model and storage; returns at once.

    A service that this process has started before is ended first, and this one ends with this
    process at the latest.

    Args:
        workers: uvicorn's workers; each needs some seconds to import CrewAI.
        env: changes to its environment; None takes a variable away.

    Returns:
        The service; ``ask`` waits until it is ready.
    """
    for earlier in list(_running):
        earlier.stop()
    from crewlab import services

    changes = dict(env or {})
    changes.setdefault("SERVICE_BUCKET", services.start().storage.new_bucket())
    service = Service(workers, changes)
    _running.append(service)
    return service


def new_jobs(number: int) -> list[dict[str, str]]:
    """Make jobs about distinct invented companies, each with a key that nobody has used.

    Args:
        number: how many.
    """
    return [
        {"company": str(inputs["company"]), "key": str(uuid.uuid4())}
        for inputs in default_requests(number)
    ]


@atexit.register
def _stop_all() -> None:
    for service in list(_running):
        service.stop()
        shutil.rmtree(service._folder, ignore_errors=True)
