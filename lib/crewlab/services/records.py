"""What the two sides of the control channel say to each other: settings, counters, journal."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

LONGEST = 600.0
"""The longest latency and Retry-After that can be asked for, in seconds: the OpenAI SDK gives up
after 600 s, so anything longer only looks like a hang (openai._constants.DEFAULT_TIMEOUT)."""

CLIENT_LEFT = 499
"""Status in the journal of a request whose client left before the answer (nginx's convention)."""

DROPPED = 0
"""Status in the journal of a request whose connection was cut without an answer."""


@dataclass(frozen=True)
class Settings:
    """How an endpoint behaves.

    Attributes:
        latency: seconds before an answer (before its first byte, when it is streamed).
        max_in_flight: requests worked on at once; one more gets a 429. None: no cap.
        quota: requests let in within any ``quota_seconds``; one more gets a 429. None: no quota.
        quota_seconds: how long a request counts against the quota; providers count by the minute.
        retry_after: seconds a 429 tells the client to wait.
        errors: HTTP status to answer with, by ordinal of the request since the last reset (from 1).
        drop: ordinals of requests whose connection is cut without an answer.
        hang: ordinals of requests that get no answer until the endpoint is reset.
    """

    latency: float = 0.1
    max_in_flight: int | None = None
    quota: int | None = None
    quota_seconds: float = 60.0
    retry_after: float = 1.0
    errors: Mapping[int, int] = field(default_factory=dict)
    drop: Collection[int] = ()
    hang: Collection[int] = ()

    def __post_init__(self) -> None:
        for name in ("latency", "retry_after", "quota_seconds"):
            seconds = getattr(self, name)
            if not _is_number(seconds) or not 0 <= seconds <= LONGEST:
                raise ValueError(f"{name} is a number of seconds, 0 to 600, not {seconds!r}.")
        for name in ("max_in_flight", "quota"):
            cap = getattr(self, name)
            if cap is not None and not _is_ordinal(cap):
                raise ValueError(
                    f"{name} is a whole number of requests from 1, or None for no cap, not {cap!r}."
                )
        for name in ("errors", "drop", "hang"):
            wrong = [ordinal for ordinal in getattr(self, name) if not _is_ordinal(ordinal)]
            if wrong:
                raise ValueError(f"{name} counts requests from 1: {wrong[0]!r} is no such number.")
        for status in self.errors.values():
            if not _is_ordinal(status) or not 400 <= status <= 599:
                raise ValueError(f"errors gives HTTP statuses from 400 to 599, not {status!r}.")

    def to_dict(self) -> dict[str, Any]:
        """Give the settings as plain JSON data."""
        return {
            **asdict(self),
            "errors": {str(ordinal): status for ordinal, status in self.errors.items()},
            "drop": sorted(self.drop),
            "hang": sorted(self.hang),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Settings:
        """Read back what `to_dict` gave.

        Args:
            data: the settings as plain data; missing ones have their defaults.

        Raises:
            ValueError, TypeError: a setting is unknown or out of its range.
        """
        errors = {int(ordinal): status for ordinal, status in data.get("errors", {}).items()}
        return cls(
            **{
                **data,
                "errors": errors,
                "drop": frozenset(data.get("drop", ())),
                "hang": frozenset(data.get("hang", ())),
            }
        )


@dataclass(frozen=True)
class Stats:
    """What an endpoint has counted since its last reset.

    Attributes:
        in_flight: requests being worked on now; refused ones never count.
        peak_in_flight: the most that were worked on at once.
        total: requests that arrived, however they ended.
        by_status: finished requests by HTTP status; 499 for a client that left before the answer,
            0 for a connection that was cut without one.
    """

    in_flight: int
    peak_in_flight: int
    total: int
    by_status: Mapping[int, int]


@dataclass(frozen=True)
class Call:
    """One request as the endpoint's journal keeps it.

    Attributes:
        ordinal: its number since the last reset, from 1, in order of arrival.
        path: what was called, e.g. ``/v1/chat/completions``.
        started: when it arrived, in seconds since 1970 (`time.time`).
        finished: when it was answered, refused or given up, likewise.
        status: HTTP status, 499 or 0 as in `Stats.by_status`.
        names: customers it asked about, in order of first appearance.
        tool: the tool the model asked for, or None if it answered.
        query: what was searched for; empty for the model.
        prompt_tokens: tokens of the question, as the answer to a chat completion counts them.
        completion_tokens: tokens of that answer; both are simulated, see `replies.usage_of`.
    """

    ordinal: int
    path: str
    started: float
    finished: float
    status: int
    names: tuple[str, ...] = ()
    tool: str | None = None
    query: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_ordinal(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
