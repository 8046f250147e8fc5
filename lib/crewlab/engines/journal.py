"""What workers write down as they go: one file a run, which needs no broker and no connection."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

Line = tuple[str, str, int, int, float, str]
"""What happened, to what, the process, its thread, when by ``time.monotonic``, and more words."""


def note(what: str, which: str, words: str = "") -> None:
    """Write a line into the file that ``CREWLAB_JOURNAL`` names; called in a worker.

    Args:
        what: happened.
        which: job or worker it happened to.
        words: more about it.
    """
    line = [what, which, os.getpid(), threading.get_ident(), time.monotonic(), words]
    descriptor = os.open(
        Path(os.environ["CREWLAB_JOURNAL"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND
    )
    os.write(descriptor, json.dumps(line).encode() + b"\n")
    os.close(descriptor)


class Journal:
    """Reads what the workers of one run write.

    Attributes:
        path: of the file, for ``CREWLAB_JOURNAL``.
    """

    def __init__(self, folder: Path) -> None:
        """Begin an empty one in a run's folder."""
        self.path = folder / "journal"
        self.path.touch()
        self._read = 0

    def all(self) -> list[Line]:
        """Give every line so far."""
        return _lines(self.path.read_bytes())

    def news(self) -> list[Line]:
        """Give the lines since the last call."""
        with self.path.open("rb") as journal:
            journal.seek(self._read)
            whole, newline, _ = journal.read().rpartition(b"\n")
        self._read += len(whole) + len(newline)
        return _lines(whole)


def _lines(text: bytes) -> list[Line]:
    return [tuple(json.loads(line)) for line in text.splitlines()]
