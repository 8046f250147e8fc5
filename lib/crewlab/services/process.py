"""The parent's side of the child process: start it, know its ports, read its log, end it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

START_DEADLINE = 20.0  # s until the child has reported its ports; it takes 0.1 s on an idle machine
STOP_DEADLINE = 2.0  # s between the polite end and the hard one
LOG_LINES = 400
LOG_WIDTH = 500

# The learner's keys and the settings of their cloud are nothing the child needs.
_PRIVATE = ("AWS_", "OPENAI_", "SERPER_", "MOTO_", "ANTHROPIC_", "GOOGLE_", "AZURE_")


class ServicesError(RuntimeError):
    """The local services cannot do what was asked; the message says why and what to do."""


class ServiceProcess:
    """One child process with its three listening ports."""

    def __init__(
        self, token: str, settings: Mapping[str, Any], ports: Mapping[str, int] | None = None
    ) -> None:
        """Start the child and wait until its sockets are bound.

        Args:
            token: what the child's control channel will want to see.
            settings: settings as plain data, by the endpoint's name.
            ports: ports to bind by the endpoint's name; the system chooses those not named.

        Raises:
            ServicesError: a port is taken, or the child did not start.
        """
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._first: dict[str, Any] | None = None
        self._settled = threading.Event()
        self._child = _spawn()
        # Not among the variables or the arguments, where `ps` would show it.
        self._say({"token": token, "settings": settings, "ports": dict(ports or {})})
        self._reader = threading.Thread(target=self._read, name="services log", daemon=True)
        self._reader.start()
        try:
            self.ports = self._wait_for_ports()
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    def exit_code(self) -> int | None:
        """Give the child's exit code, minus the signal that killed it; None while it lives."""
        return self._child.poll()

    def log(self) -> str:
        """Give the last lines the child has written."""
        return "\n".join(self._log)

    def stop(self) -> None:
        """End the child and close what led to it; safe to call twice."""
        self.let_go()
        try:
            self._child.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._reader.join(STOP_DEADLINE)

    def let_go(self) -> None:
        """Close this process's end of the child's standard input; with the last one it ends."""
        with contextlib.suppress(OSError):
            _stdin(self._child).close()

    def _say(self, orders: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):  # a child that died at once is reported by its log
            _stdin(self._child).write(json.dumps(orders).encode() + b"\n")
            _stdin(self._child).flush()

    def _read(self) -> None:
        """Take the child's first report and keep its last lines, until it ends."""
        stdout = self._child.stdout
        assert stdout is not None  # noqa: S101  (it was asked for as a pipe)
        with stdout:
            for line in stdout:
                text = line.decode(errors="replace").rstrip()[:LOG_WIDTH]
                if self._first is None and text.startswith("{"):
                    self._first = json.loads(text)
                    self._settled.set()
                else:
                    self._log.append(text)
        self._settled.set()

    def _wait_for_ports(self) -> dict[str, int]:
        in_time = self._settled.wait(START_DEADLINE)
        if self._first is None:
            why = "ended at once" if in_time else f"said nothing for {START_DEADLINE:.0f} s"
            last = self._log[-1] if self._log else "it left no message"
            raise ServicesError(
                f"The local services did not start: their process {why} ({last}).\n"
                "Run `crewlab check`: it looks for what is missing in this environment."
            )
        if "refused" in self._first:
            refused = self._first["refused"]
            raise ServicesError(
                f"The local services cannot use port {refused['port']}: {refused['why']}.\n"
                "Another program has taken it meanwhile. Restart the kernel (Kernel, Restart)."
            )
        ports: dict[str, int] = self._first["ports"]
        return ports


def _spawn() -> subprocess.Popen[bytes]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(_PRIVATE)
    }
    environment["PYTHONUNBUFFERED"] = "1"
    options: dict[str, Any] = {}
    if os.name == "posix":
        options["start_new_session"] = True  # a ^C or an interrupt reaches the kernel alone
    else:
        options["creationflags"] = 0x08000000 | 0x00000200  # no window, a process group of its own
    # -P: a file of the learner's called openai.py or json.py must not be imported by the child,
    # and the child must not keep the folder of the notebook busy.
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "crewlab.services"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=Path(sys.executable).parent,
        env=environment,
        **options,
    )


def _stdin(child: subprocess.Popen[bytes]) -> IO[bytes]:
    assert child.stdin is not None  # noqa: S101  (it was asked for as a pipe)
    return child.stdin
