"""A real message broker: an embedded Valkey, this machine's Redis, or the one of ``REDIS_URL``."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

from crewlab.engines.redis_client import connect, without_password
from crewlab.engines.servers import Server, find
from crewlab.errors import ToldOSError, ToldValueError

_REASONS = (
    "It is not running, not reachable from here, or wants another password or database, or TLS"
    " (rediss://)."
)
_REASONS_WITH_TLS = (
    "It is not running, not reachable from here, or its certificate is of an authority of your own"
    " (add ?ssl_ca_certs=ca.pem)."
)


class Broker:
    """A broker that is there.

    Attributes:
        url: where it is, as in ``REDIS_URL``.
        kind: "valkey-server" or "redis-server" of our own, or "REDIS_URL".
    """

    def __init__(self, url: str, kind: str, server: Server | None = None) -> None:
        """Take a broker that answers; ``start`` and ``at`` are how to get one."""
        self.url, self.kind, self._server = url, kind, server
        self.client: Any = connect(url)

    @property
    def is_ours(self) -> bool:
        """Whether this process started it, so that it may be filled up or killed."""
        return self._server is not None

    @property
    def port(self) -> int:
        """The port of one of our own; 0 for another."""
        return 0 if self._server is None else self._server.port

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

    def trouble(self) -> str | None:
        """Say what is wrong with it: it is silent, or it refuses to be written to, as a full one.

        Returns:
            That in one line, with the client's own error; None if it works.
        """
        from redis.exceptions import ResponseError

        key = f"crewlab:room:{os.getpid()}"
        try:
            self.client.set(key, "", ex=60)
            self.client.delete(key)
        except ResponseError as problem:
            return f"the broker takes nothing in ({_words(problem)})"
        except Exception as problem:  # the client's own errors, of many kinds
            return f"the broker does not answer ({_words(problem)})"
        return None

    def demand(self) -> None:
        """Insist that it works.

        Raises:
            OSError: it is silent, or full; says what to do.
        """
        if trouble := self.trouble():
            raise ToldOSError(
                None,
                f"No job can be sent: {trouble}.\n"
                f"It is the one at {without_password(self.url)}.\n"
                "A full one needs room or a larger maxmemory; a silent one must be started.",
            )

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


def start(*, server: str | None = None, memory: str | None = None, port: int = 0) -> Broker:
    """Start a broker of our own on this machine's loopback interface.

    It keeps nothing on disk and asks for no password, so it is nothing to keep.

    Args:
        server: "valkey-server" or "redis-server"; None: ``CREWLAB_BROKER``, else the first that
            is there.
        memory: its ``maxmemory``, e.g. "2mb"; None: no limit.
        port: the one to try first; 0: any that is free.

    Returns:
        The broker; call ``stop``.

    Raises:
        ValueError: no such server is here.
        OSError: it did not start; says what its log says.
    """
    kind, program = find(server or os.environ.get("CREWLAB_BROKER") or None)
    running = Server(program, memory, port)
    return Broker(running.url, kind, running)


def at(url: str) -> Broker:
    """Use a broker that runs already.

    Args:
        url: as in ``REDIS_URL``. With TLS (``rediss://``) the broker's certificate is checked,
            unless ``ssl_cert_reqs`` says otherwise.

    Returns:
        The broker.

    Raises:
        ValueError: this is no address of a Redis.
        OSError: nothing answers there.
    """
    try:
        broker = Broker(_told_to_check(url), "REDIS_URL")
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
            f"No broker answers at {without_password(url)} ({_words(problem)}).\n"
            f"{_REASONS_WITH_TLS if url.startswith('rediss:') else _REASONS}\n"
            "Start it, correct REDIS_URL, or take REDIS_URL away to use an embedded one.",
        ) from None
    return broker


_lock = threading.Lock()
_ours: dict[int, Broker] = {}


def broker() -> Broker:
    """Give this process's broker, and start it at the first call, or after it was killed.

    Returns:
        The one of ``REDIS_URL`` where that is set; else one of our own, which ends with this
        process. One that was killed comes back at its old address, if that is still free.

    Raises:
        ValueError: no server is here, or ``REDIS_URL`` is none.
        OSError: it did not start, or does not answer.
    """
    with _lock:
        url, ours = os.environ.get("REDIS_URL"), _ours.get(os.getpid())
        if url and (ours is None or url != ours.url):
            return at(url)
        if ours is None:
            ours = start()
        elif not ours.answers():
            ours.stop()
            ours = start(port=ours.port)  # apps may have its address
        _ours[os.getpid()] = ours
        return ours


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


def _told_to_check(url: str) -> str:
    """Write into an address with TLS what redis-py takes for granted, and Celery refuses to."""
    parts = urlsplit(url)
    if parts.scheme != "rediss" or "ssl_cert_reqs" in parse_qs(parts.query):
        return url
    return urlunsplit(parts._replace(query=f"{parts.query}&ssl_cert_reqs=required".lstrip("&")))


def _words(problem: Exception) -> str:
    return f"{type(problem).__name__}: {problem!s:.200}" if str(problem) else type(problem).__name__
