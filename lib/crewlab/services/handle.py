"""The local services of this process: started once, found again, restarted when they died."""

from __future__ import annotations

import atexit
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from crewlab.services.control import EndpointControl, StorageControl
from crewlab.services.environment import environment_for, model_is_yours
from crewlab.services.process import ServiceProcess
from crewlab.services.records import Settings

SEARCH_LATENCY = 0.05  # s


class Services:
    """The model endpoint, the search endpoint and the object storage of this process.

    Attributes:
        model: steers the model endpoint.
        search: steers the search endpoint.
        storage: the object storage.
        environment: what an app needs in its environment to find them and to stay offline.
        model_is_local: False if OPENAI_BASE_URL and OPENAI_API_KEY were set to something of the
            learner's own when the services started: apps then talk to that model.
    """

    def __init__(self) -> None:
        """Start the child process; `start` is how to get at the one of this process.

        Raises:
            ServicesError: the child did not start.
        """
        self._owner = os.getpid()
        self._lock = threading.RLock()
        self._token = secrets.token_urlsafe(32)
        self._message: str | None = None
        self.model = EndpointControl("model", lambda: self.ports["model"], self._token)
        self.search = EndpointControl(
            # The control channel of both is on the model's port.
            "search",
            lambda: self.ports["model"],
            self._token,
            Settings(latency=SEARCH_LATENCY),
        )
        self.storage = StorageControl(lambda: self.ports["storage"])
        self._process = self._new_process()
        self.ports = dict(self._process.ports)
        self.environment = environment_for(self.ports, os.environ)
        self.model_is_local = not model_is_yours(os.environ)

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    def is_running(self) -> bool:
        """Tell whether the child process lives; `ensure` brings it back if it does not."""
        return self._process.exit_code() is None

    def log(self) -> str:
        """Give the last lines the child process has written: empty unless something went wrong."""
        return self._process.log()

    @contextmanager
    def counted_anew(self) -> Iterator[None]:
        """Let both endpoints count from one in a block, and let go after it of what hangs.

        Raises:
            ServicesError: the local services do not run.
        """
        self.model.reset()
        self.search.reset()
        try:
            yield
        finally:
            self.model.reset()
            self.search.reset()

    def ensure(self) -> str | None:
        """Start the services again if their process has died, on the same ports.

        Returns:
            One line for the learner if they had to be restarted since the last call, else None.

        Raises:
            ServicesError: they cannot be restarted, e.g. another program has taken a port.
        """
        if os.getpid() != self._owner:
            return None  # a forked child: they are its parent's
        with self._lock:
            self._revive()
            message, self._message = self._message, None
            return message

    def stop(self) -> None:
        """End the services; does nothing the second time, and nothing in a forked child."""
        if os.getpid() == self._owner:
            with self._lock:
                self._process.stop()
        _forget(self)

    def _revive(self) -> None:
        code = self._process.exit_code()
        if code is None:
            return
        self._process.stop()
        self._process = self._new_process(self.ports)
        self._message = (
            f"The local services had stopped (exit code {code}); they were restarted on the same "
            "ports. Their counters and stored objects are empty again."
        )

    def _new_process(self, ports: dict[str, int] | None = None) -> ServiceProcess:
        settings = {
            "model": self.model.settings.to_dict(),
            "search": self.search.settings.to_dict(),
        }
        return ServiceProcess(self._token, settings, ports)

    def _forked(self) -> None:
        """Drop what a forked child has inherited: it would keep its parent's services alive."""
        self._process.let_go()


_lock = threading.Lock()
_current: Services | None = None


def start() -> Services:
    """Start the local services, or give those this process has already.

    Returns:
        The services; their ports are known and take connections. If their process has died since,
        it is restarted, and the next `Services.ensure` says so.

    Raises:
        ServicesError: the child process did not start, or could not be restarted.
    """
    global _current
    with _lock:
        if _current is None:
            _current = Services()
        else:
            with _current._lock:
                _current._revive()
        return _current


def current() -> Services | None:
    """Give the services of this process, or None if it has not started any."""
    return _current


def _forget(services: Services) -> None:
    global _current
    with _lock:
        if _current is services:
            _current = None


def _stop_at_exit() -> None:
    if _current is not None:
        _current.stop()


def _after_fork() -> None:
    """Make a forked child forget its parent's services: they are not its own to stop."""
    global _current, _lock
    inherited, _current, _lock = _current, None, threading.Lock()
    if inherited is not None:
        inherited._forked()


atexit.register(_stop_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
