"""Admission, counters and journal of one endpoint."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from dataclasses import asdict
from typing import Any

from crewlab.services.records import CLIENT_LEFT, Call, Settings, Stats

JOURNAL_LENGTH = 10_000


class Visit:
    """A request from its arrival to its end; what the journal will say about it."""

    __slots__ = (
        "completion_tokens",
        "in_flight",
        "names",
        "ordinal",
        "path",
        "prompt_tokens",
        "query",
        "round",
        "started",
        "status",
        "tool",
    )

    def __init__(self, ordinal: int, round_: int, path: str) -> None:
        self.ordinal = ordinal
        self.round = round_
        self.path = path
        self.started = time.time()
        # Stays unless somebody sets another: the handler was cancelled before it had an answer.
        self.status = CLIENT_LEFT
        self.in_flight = False
        self.names: tuple[str, ...] = ()
        self.tool: str | None = None
        self.query = ""
        self.prompt_tokens = self.completion_tokens = 0


class Traffic:
    """Who is in, who was, and what the settings say about the next one.

    Lives in the event loop's thread only, so nothing in it needs a lock.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._in_flight = 0
        self._round = 0
        self._released = asyncio.Event()
        self._start_count()

    def _start_count(self) -> None:
        self._total = 0
        self._peak = self._in_flight
        self._by_status: Counter[int] = Counter()
        self._journal: deque[Call] = deque(maxlen=JOURNAL_LENGTH)
        self._let_in: deque[float] = deque()  # when, of those that count against the quota

    def arrive(self, path: str) -> Visit:
        """Number a request; every visit must `leave`."""
        self._total += 1
        return Visit(self._total, self._round, path)

    def is_full(self) -> bool:
        """Tell whether one more request would be over the cap."""
        cap = self.settings.max_in_flight
        return cap is not None and self._in_flight >= cap

    def is_over_quota(self) -> bool:
        """Tell whether one more request would be over the quota of the last so many seconds."""
        if self.settings.quota is None:
            return False
        since = time.monotonic() - self.settings.quota_seconds
        while self._let_in and self._let_in[0] <= since:
            self._let_in.popleft()
        return len(self._let_in) >= self.settings.quota

    def enter(self, visit: Visit) -> None:
        """Count a request as being worked on."""
        visit.in_flight = True
        if self.settings.quota is not None:
            self._let_in.append(time.monotonic())
        self._in_flight += 1
        self._peak = max(self._peak, self._in_flight)

    def leave(self, visit: Visit) -> None:
        """Write a request into the journal, unless a reset has wiped the count it belongs to."""
        self._in_flight -= visit.in_flight
        if visit.round != self._round:
            return
        self._by_status[visit.status] += 1
        self._journal.append(
            Call(
                visit.ordinal,
                visit.path,
                visit.started,
                time.time(),
                visit.status,
                visit.names,
                visit.tool,
                visit.query,
                visit.prompt_tokens,
                visit.completion_tokens,
            )
        )

    async def hang(self) -> None:
        """Wait for the next reset."""
        await self._released.wait()

    def reset(self) -> None:
        """Start counting anew, from ordinal 1, and let go of whoever hangs; the settings stay."""
        self._round += 1
        self._start_count()
        self._released.set()
        self._released = asyncio.Event()

    def stats(self) -> dict[str, Any]:
        """Give the counters as plain data (`Stats`)."""
        return asdict(Stats(self._in_flight, self._peak, self._total, dict(self._by_status)))

    def journal(self) -> list[dict[str, Any]]:
        """Give the last 10,000 finished requests as plain data (`Call`), by ordinal."""
        return [asdict(call) for call in sorted(self._journal, key=lambda call: call.ordinal)]
