"""Replicas that are told to end while they work: a roll-out, a drained node, a kill."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from crewlab.errors import ToldTypeError, ToldValueError

POLL = 0.05  # s between two looks at a condition, which may ask another process


@dataclass(frozen=True)
class Eviction:
    """One replica that is told to end while it works.

    It gets SIGTERM, and SIGKILL if it is still there when its grace period is over; after that a
    fresh one takes its place. It happens ``delay`` seconds after both ``after`` and ``when`` hold.

    Attributes:
        replica: which one, from 0.
        after: how many requests it must have taken since its start.
        when: a further condition, looked at every 0.05 s; for example that an order was charged.
        delay: seconds to wait then.
        grace: seconds from SIGTERM to SIGKILL; 0 kills at once, as a power cut would.
    """

    replica: int
    after: int = 1
    when: Callable[[], bool] | None = None
    delay: float = 0.0
    grace: float = 0.0


def as_evictions(evict: Sequence[Eviction], replicas: int) -> tuple[Eviction, ...]:
    """Check the evictions that ``scale`` was given.

    Args:
        evict: what it was given.
        replicas: how many replicas there will be.

    Returns:
        The evictions.

    Raises:
        ValueError: a replica, number or time that cannot be.
        TypeError: something that is no eviction.
    """
    for item in evict:
        if not isinstance(item, Eviction):
            raise ToldTypeError(
                f"evict lists a {type(item).__name__}: {item!r:.80}.\n"
                "It must list evictions, each for one replica.\n"
                "For example evict=[Eviction(replica=0, after=1, grace=2)]."
            )
        if not 0 <= item.replica < replicas:
            raise ToldValueError(
                f"There is no replica {item.replica!r} to evict: they are numbered from 0 to"
                f" {replicas - 1}."
            )
        if item.after < 0 or not 0 <= item.delay <= 3600 or not 0 <= item.grace <= 3600:
            raise ToldValueError(
                f"{item!r:.200}: after is a number of requests; delay and grace are seconds,"
                " 0 to 3600."
            )
    return tuple(evict)


class Watch:
    """Says when an eviction is due."""

    def __init__(self, eviction: Eviction) -> None:
        self.eviction = eviction
        self._due_at: float | None = None
        self._look_at = 0.0

    def is_due(self, taken: int) -> bool:
        """Tell whether it is time.

        Args:
            taken: how many requests the replica has taken since its start.
        """
        now = time.monotonic()
        if self._due_at is None and taken >= self.eviction.after and now >= self._look_at:
            self._look_at = now + POLL
            if self.eviction.when is None or self.eviction.when():
                self._due_at = now + self.eviction.delay
        return self._due_at is not None and now >= self._due_at
