"""Watching a notebook's run: what it leaves behind, and which addresses it turns to."""

from __future__ import annotations

import ipaddress
import json
import os
from pathlib import Path

from crewlab.building.kernel import private_environment
from tests.processes import MARK, wait_until_empty, wait_until_gone

NOTING = Path(__file__).with_name("data") / "watch_network"
"""On PYTHONPATH, it has every Python process note the addresses it turns to."""


class Watch:
    """One run of one notebook, from before it starts.

    Attributes:
        environment: to be given to the process that runs it: rooms of its own, and our marks.
    """

    def __init__(self, notebook: Path, rooms: Path) -> None:
        """Prepare for a run.

        Args:
            notebook: the notebook.
            rooms: an empty folder, for the run's home, temp folder and settings.
        """
        self._beside, self._rooms = notebook.parent, rooms
        self._mark = f"{rooms}/{os.getpid()}"
        self._log = rooms / "network.jsonl"
        self._log.touch()
        self._before = set(self._beside.iterdir())
        self.environment = private_environment(rooms) | {
            MARK: self._mark,
            "NETWORK_LOG": str(self._log),
            "PYTHONPATH": str(NOTING),
        }

    def assert_nothing_is_left(self) -> None:
        """After the run: no process, so no port; no temporary file; no file beside it."""
        assert wait_until_gone(self._mark) == []
        assert wait_until_empty(self._rooms / "tmp") == []
        assert [path.name for path in (self._rooms / "home").glob("kernel-*")] == []
        new = {path.name for path in set(self._beside.iterdir()) - self._before}
        assert new - {".ipynb_checkpoints"} == set()

    def assert_no_other_machine_was_asked(self) -> None:
        """After the run: every address any of its Python processes turned to is of this machine."""
        addresses = noted(self._log)
        assert addresses, "nothing was watched: not even the kernel's own connections"
        assert [address for address in addresses if not is_local(address)] == []


def noted(log: Path) -> list[object]:
    """Read the addresses that were noted."""
    return [json.loads(line)[2] for line in log.read_text(encoding="utf-8").splitlines()]


def is_local(address: object) -> bool:
    """Tell this machine's loopback and local sockets from all other addresses."""
    host = address[0] if isinstance(address, list) and address else address
    if not isinstance(host, str):
        return True  # no address at all, or a number that names something in the kernel
    # repr() of bytes: the abstract sockets that multiprocessing uses.
    if host == "localhost" or host.startswith(("/", "\0", "b'\\x00", "b'/")):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
