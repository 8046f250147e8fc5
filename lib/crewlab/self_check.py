"""``crewlab check``: does everything the course needs work here, and if not, what to do.

Each check is told as soon as it is known. None of them shows the value of a variable, since some
of those are keys.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import multiprocessing
import os
import platform
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.specifiers import SpecifierSet

from crewlab.lock import difference, read_pins

TINY_CREW = Path(__file__).parent / "round_trip" / "tiny_crew.py"
ROUND_TRIP_SECONDS = 60.0

SET_UP = "Run `make lab` (Windows and conda: see README) to install what requirements.lock says."

_OWN_SERVICES = ("OPENAI_", "SERPER_", "AWS_")


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        works: whether it is as the course needs it.
        what: one line about what was seen.
        advice: what to do, if it does not work.
    """

    works: bool
    what: str
    advice: str = ""


class Failed(Exception):
    """A check failed: what was seen, and what to do."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice


def run_checks(root: Path) -> Iterator[Finding]:
    """Check the environment, the quick things first.

    Args:
        root: the course's folder, with ``requirements.lock``.

    Yields:
        One finding a check, as soon as it is known. The round trip is left out when what it
        stands on does not work.
    """
    home = root / (os.environ.get("CREWLAB_HOME") or "work")
    basics: list[Callable[[], str]] = [
        check_python,
        lambda: check_packages(root / "requirements.lock"),
        lambda: check_folder(home),
        check_loopback,
        check_start_method,
    ]
    sound = True
    with _environment_as_it_was():
        for check in basics:
            finding = _finding(check)
            sound = sound and finding.works
            yield finding
        if sound:
            # While the services are looked at, CrewAI is imported for the replica.
            from crewlab.deployment import preload
            from crewlab.services import current

            preload()
            try:
                services = _finding(check_services)
                yield services
                if services.works:
                    yield _finding(check_round_trip)
            finally:
                running = current()
                if running is not None:
                    running.stop()


def check_python(version: tuple[int, ...] | None = None) -> str:
    """Check that Python is one the course is locked for.

    Args:
        version: such as ``(3, 12, 1)``; None for the running one.

    Returns:
        What was seen.

    Raises:
        Failed: it is too old or too new.
    """
    running = ".".join(map(str, version or sys.version_info[:3]))
    wanted = importlib.metadata.metadata("crewlab")["Requires-Python"] or ""
    if running not in SpecifierSet(wanted):
        raise Failed(
            f"Python {running} runs here; the course needs {wanted}",
            "Install Python 3.11, 3.12 or 3.13 and run `make clean lab PYTHON=python3.12`.",
        )
    return f"Python {running} on {platform.system()}"


def check_packages(lock: Path) -> str:
    """Check that the installed packages are those of the lock.

    Args:
        lock: ``requirements.lock``.

    Returns:
        What was seen.

    Raises:
        Failed: the lock is missing, or packages are missing or have other versions.
    """
    try:
        pins = read_pins(lock)
    except OSError:
        raise Failed(
            f"{lock.name} is missing", "Get it back, for example with `git checkout -- .`"
        ) from None
    wrong = [problem for pin in pins if (problem := difference(pin)) is not None]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise Failed("Packages differ from the lock: " + "; ".join(wrong[:3]) + more, SET_UP)
    return f"{len(pins)} packages at the versions of {lock.name}"


def check_folder(home: Path) -> str:
    """Check that the work folder can be written.

    Args:
        home: the folder; made if missing.

    Returns:
        What was seen.

    Raises:
        Failed: it cannot be made or written.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home) as probe:
            probe.write(b"a full disk shows here")
    except OSError as problem:
        raise Failed(
            f"The work folder {home.name!r} cannot be written: {problem.strerror or problem}",
            "Make room or permission for it, or set CREWLAB_HOME to another folder.",
        ) from None
    return f"The work folder {home.name!r} can be written"


def check_loopback() -> str:
    """Check that two programs on this machine can talk through 127.0.0.1.

    Returns:
        What was seen.

    Raises:
        Failed: they cannot.
    """
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(5)
            with socket.create_connection(server.getsockname(), timeout=5) as client:
                accepted, _ = server.accept()
                with accepted:
                    client.sendall(b"x")
                    accepted.settimeout(5)
                    accepted.recv(1)
    except OSError as problem:
        raise Failed(
            f"Programs here cannot talk through 127.0.0.1: {problem.strerror or problem}",
            "Bring the loopback interface up, or allow Python in the firewall.",
        ) from None
    return "Programs here can talk through 127.0.0.1"


def check_start_method() -> str:
    """Check that replicas can be started and share a lock with their supervisor.

    Returns:
        What was seen.

    Raises:
        Failed: the system has no room for shared locks.
    """
    methods = multiprocessing.get_all_start_methods()
    method = "forkserver" if "forkserver" in methods else "spawn"
    try:
        multiprocessing.get_context(method).Lock()
    except (OSError, ImportError) as problem:
        raise Failed(
            f"Processes cannot share a lock here: {problem}",
            "Give the container shared memory, for example with --shm-size=256m.",
        ) from None
    slow = "" if method == "forkserver" else ": each replica takes some seconds to start"
    return f"Replicas are started by {method}{slow}"


def check_services() -> str:
    """Start the local services and ask the model for its name.

    Returns:
        What was seen.

    Raises:
        Failed: they do not start or do not answer.
    """
    import urllib.request

    from crewlab import services

    advice = "Close other notebooks and try again; if it stays, report it with this message."
    try:
        running = services.start()
        os.environ.update(running.environment)
        # No proxy, and no other address than the one the services just gave.
        ask = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        with ask(f"{running.environment['OPENAI_BASE_URL']}/models", timeout=10) as answer:
            answer.read()
    except Exception as problem:
        raise Failed(f"The local services do not answer: {_one_line(problem)}", advice) from None
    return "The local model, search and storage answer"


def check_round_trip() -> str:
    """Deploy a small crew on one replica and send it one request.

    Returns:
        What was seen.

    Raises:
        Failed: the request had another outcome than ``ok``.
    """
    from crewlab import scale

    advice = "Restart the machine's notebooks and try again; if it stays, report this message."
    try:
        run = scale(TINY_CREW, replicas=1, threads=1, requests=1, timeout=ROUND_TRIP_SECONDS)
    except Exception as problem:
        raise Failed(f"A replica cannot run: {_one_line(problem)}", advice) from None
    if run.ok != 1:
        seen = run.first_error or ", ".join(f"{n} {kind}" for kind, n in run.counts.items() if n)
        raise Failed(f"A crew on a replica did not answer: {seen.splitlines()[0]}", advice)
    return "A crew on a replica answered"


def _finding(check: Callable[[], str]) -> Finding:
    try:
        return Finding(True, check())
    except Failed as problem:
        return Finding(False, problem.what, problem.advice)


def _one_line(problem: BaseException) -> str:
    return (str(problem) or type(problem).__name__).splitlines()[0]


@contextlib.contextmanager
def _environment_as_it_was() -> Iterator[None]:
    """Use the local services, whatever the learner has set up, and give the variables back."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(_OWN_SERVICES):
            del os.environ[name]
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
