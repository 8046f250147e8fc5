"""An app on replicas against a model that lets in only so many requests at once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from crewlab.app import App
from crewlab.errors import ToldValueError
from crewlab.results.demand import Demand, SideBySide
from crewlab.services import Services

QUOTA = 8
"""Requests the model works on at once; one more is refused with status 429."""

LATENCY = 0.35
"""Seconds the model takes for an answer. The quota over the latency is what it can do: some 23
requests a second. A machine with no time to spare sends more than that when nothing bounds it."""

RETRY_AFTER = 1.0
"""Seconds a refused client is told to wait."""

LONGEST_WAIT = 20.0
"""Seconds within which the last requests of an earlier run must have left the model."""

__all__ = ["LATENCY", "QUOTA", "RETRY_AFTER", "demand", "side_by_side"]


def demand(
    app: App,
    *,
    replicas: int,
    planned: int | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 60.0,
) -> Demand:
    """Deploy an app against a model with a quota, one customer at a time in each replica.

    The app finds ``MODEL_QUOTA`` and ``REPLICAS`` in its environment, as a deployment would set
    them.

    Args:
        app: what a ``%%app`` cell bound.
        replicas: processes.
        planned: how many replicas the deployment was planned for (``REPLICAS``); by default as
            many as there are.
        env: further variables.
        timeout: seconds after which a customer without answer counts as a timeout.

    Returns:
        The run, and what the model saw of it.

    Raises:
        ValueError: there is no local model whose quota could be set.
    """
    from crewlab.deployment import scale

    with _quota() as local:
        run = scale(
            app,
            replicas=replicas,
            threads=1,
            requests=replicas,
            env={"MODEL_QUOTA": str(QUOTA), "REPLICAS": str(planned or replicas), **(env or {})},
            timeout=timeout,
        )
        return Demand(run, tuple(local.model.journal()), QUOTA)


def side_by_side(demands: Mapping[str, Mapping[int, Demand]]) -> SideBySide:
    """Put what was measured into one table and one picture; nothing runs again.

    Args:
        demands: for each app's name, what `demand` gave at each number of replicas.
    """
    return SideBySide({name: dict(sorted(runs.items())) for name, runs in demands.items()})


@contextmanager
def _quota() -> Iterator[Services]:
    """Give the model its quota, and its former settings back at the end."""
    from crewlab import services

    local = services.current()
    if local is None or not local.model_is_local:
        raise ToldValueError(
            "This chapter overloads the model, and there is no local one to overload.\n"
            "It sets a quota, which only the course's own model lets it do.\n"
            "Unset OPENAI_BASE_URL, restart the kernel and run %load_ext crewlab."
        )
    limits = {"latency": LATENCY, "max_in_flight": QUOTA, "retry_after": RETRY_AFTER}
    with local.model.temporarily(**limits):
        _wait_until_idle(local)
        local.model.reset()
        yield local


def _wait_until_idle(local: Services) -> None:
    """Let go what an earlier run has left at the model: it would take places of this one's."""
    deadline = time.monotonic() + LONGEST_WAIT
    while local.model.stats().in_flight and time.monotonic() < deadline:
        time.sleep(0.02)
