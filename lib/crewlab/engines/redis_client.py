"""How this process itself talks to a broker: once, and not for long."""

from __future__ import annotations

from typing import Any

PATIENCE = 5.0  # s until a broker that is silent counts as gone


def connect(url: str) -> Any:
    """Give a client that tries once and waits `PATIENCE` seconds at most.

    Args:
        url: as in ``REDIS_URL``.

    Raises:
        ValueError: this is no address of a Redis.
    """
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


def without_password(url: str) -> str:
    """Give an address that may be shown."""
    scheme, mark, rest = url.partition("?")[0].partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"
