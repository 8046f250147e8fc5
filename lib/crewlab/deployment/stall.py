"""Telling a deployment that hangs from one that is slow: a hung process uses no processor."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable

import psutil

BETWEEN_LOOKS = 0.25  # s
MOVED = 0.02  # s of processor time, two ticks of the usual clock


class Stall:
    """Notices that no replica has done anything for a while.

    A time limit cannot tell a hang from a busy machine. A process that is only slow is given the
    processor now and then; one that hangs does not want it.
    """

    def __init__(self, limit: float | None) -> None:
        """Begin to watch.

        Args:
            limit: seconds without a movement; None: never mind.
        """
        self._limit = limit
        self._seen: tuple[frozenset[int], float] = (frozenset(), 0.0)
        self._moved_at = self._look_at = time.monotonic()

    def has_lasted(self, pids: Iterable[int]) -> bool:
        """Look at some processes and all that they have started.

        Args:
            pids: their numbers.

        Returns:
            Whether none of them has used the processor for the time given.
        """
        now = time.monotonic()
        if self._limit is None or now < self._look_at:
            return False
        self._look_at = now + BETWEEN_LOOKS
        used: dict[int, float] = {}
        for pid in filter(None, pids):
            with contextlib.suppress(psutil.Error):
                leader = psutil.Process(pid)
                for process in (leader, *leader.children(recursive=True)):
                    with contextlib.suppress(psutil.Error):
                        times = process.cpu_times()
                        used[process.pid] = times.user + times.system
        known, before = self._seen
        total = sum(used.values())
        if not used or known != used.keys() or total - before >= MOVED:
            self._seen, self._moved_at = (frozenset(used), total), now
        return now - self._moved_at >= self._limit
