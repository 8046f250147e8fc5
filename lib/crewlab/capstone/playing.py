"""Plays one stage: deploys the app, lets the faults begin, and judges from outside."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from crewlab.app import App
from crewlab.capstone.board import Score
from crewlab.capstone.evidence import Evidence, names_only_its_customer
from crewlab.capstone.stages import CALM, Job, Stage, customers
from crewlab.deployment import Event, Eviction, scale
from crewlab.errors import ToldValueError
from crewlab.services import Services, current
from crewlab.services.shop import Shop

TIMEOUT = 90.0  # s, for a machine that is starved; what hangs is noticed earlier
HEAD_ROOM = 170.0  # MiB above an idle replica; the leak of the service as it was takes 370
LONGEST_WAIT = 20.0


def play_stage(app: App, stage: Stage, seed: int) -> Score:
    """Play one stage.

    Args:
        app: the service.
        stage: what to do to it.
        seed: where customers and items are drawn from.

    Returns:
        The score; of a stage that this system cannot play, an empty one.

    Raises:
        ValueError: there is no local model that could be made to fail.
    """
    local = _local_services()
    if not stage.can_be_played:
        return Score(stage, None)
    draw = random.Random(f"{seed} {stage.number}")  # noqa: S311 - no secret, the same again
    shop = Shop(local)

    def orders(count: int) -> list[Job]:
        return [
            {**order, "job": "order", "company": company, "item": f"U{draw.randrange(1000, 9999)}"}
            for order, company in zip(shop.orders(count), customers(count, draw), strict=True)
        ]

    requests, then = stage.jobs(orders, draw)
    deployment: dict[str, Any] = dict(stage.deployment)
    deployment["env"] = _environment(deployment.get("env"), shop)
    if stage.has_limit:
        deployment["memory_limit"] = _idle_memory() + HEAD_ROOM
    calls_are_held = _Condition(local, stage.kills)
    with (
        local.counted_anew(),
        local.model.temporarily(latency=CALM),
        local.search.temporarily(),
    ):
        _wait_until_idle(local)
        run = scale(
            app,
            **deployment,
            requests=requests,
            then=then,
            timeout=TIMEOUT,
            stalled_after=stage.stalled_after,
            judge=names_only_its_customer({**_items(requests)}),
            evict=[Eviction(number, when=calls_are_held) for number in range(stage.kills)],
            on_event=_Faults(local, stage, deployment["replicas"]),
        )
        evidence = Evidence(
            stage, run, shop, local.model.journal(), local.search.journal(), local.model.stats()
        )
        return Score(stage, run, evidence.not_right(), evidence.complaint())


class _Faults:
    """Lets the faults begin when all replicas have started, before any request is sent.

    What an app does at start-up, such as a warm-up, would otherwise take faults upon itself.
    """

    def __init__(self, local: Services, stage: Stage, replicas: int) -> None:
        self._local = local
        self._stage = stage
        self._waiting_for = replicas
        self._started: set[str | None] = set()

    def __call__(self, event: Event) -> None:
        if event.kind not in ("ready", "ended") or len(self._started) == self._waiting_for:
            return
        self._started.add(event.replica)
        if len(self._started) == self._waiting_for:
            self._local.model.configure(**{"latency": CALM, **self._stage.model})
            self._local.search.configure(**self._stage.search)
            self._local.model.reset()
            self._local.search.reset()


class _Condition:
    """Holds once the model keeps so many calls waiting: their jobs are in the middle."""

    def __init__(self, local: Services, calls: int) -> None:
        self._local = local
        self._calls = calls

    def __call__(self) -> bool:
        return self._local.model.stats().total >= self._calls


def _environment(env: Any, shop: Shop) -> Any:
    if env is None or isinstance(env, Mapping):
        return {**(env or {}), **shop.environment}
    return [{**one, **shop.environment} for one in env]


def _items(requests: list[Job]) -> dict[str, str]:
    return {job["company"]: job["item"] for job in requests if "item" in job}


@cache
def _idle_memory() -> float:
    """Measure what a replica with CrewAI and boto3 takes on this machine, MiB."""
    run = scale(Path(__file__).with_name("idle.py"), replicas=1, threads=1, requests=1)
    return run.replicas[0].peak_memory


def _wait_until_idle(local: Services) -> None:
    """Wait for what an earlier stage has left at the model: it would take places of this one's."""
    deadline = time.monotonic() + LONGEST_WAIT
    while time.monotonic() < deadline:
        if not local.model.stats().in_flight and not local.search.stats().in_flight:
            return
        time.sleep(0.02)


def _local_services() -> Services:
    local = current()
    if local is None or not local.model_is_local:
        raise ToldValueError(
            "The capstone makes the model fail, and there is no local one that could be told to.\n"
            "Only the course's own model can.\n"
            "Unset OPENAI_BASE_URL, restart the kernel and run %load_ext crewlab."
        )
    return local
