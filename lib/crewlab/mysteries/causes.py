"""The causes of chapters 01 to 09: which evidence tells each, as a procedure that can be run."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crewlab.mysteries.mystery import Mystery
    from crewlab.results.growth import Measure

PATIENT = 5.0
"""Seconds without any movement; a call that gives up after one or two is far from it."""

STEEP: dict[Measure, float] = {"memory": 3.0, "files": 0.9, "threads": 0.9}
"""What a leak adds with each request at least. Over ten requests, connections that come and go make
half an open file of difference a request."""


@dataclass(frozen=True)
class Cause:
    """One cause.

    Attributes:
        name: what a verdict calls it.
        chapter: the chapter that explains it.
        tools: the tools whose evidence tells it.
        evidence: what to do, and what is seen then.
        shows: gathers that evidence and says whether it is seen.
    """

    name: str
    chapter: str
    tools: tuple[str, ...]
    evidence: str
    shows: Callable[[Mystery], bool]


def _shared(mystery: Mystery) -> bool:
    run = mystery.together(replicas=1, threads=8, latency=0.5)
    return run.ok < len(run.requests)


def _environment(mystery: Mystery) -> bool:
    empty = {"OPENAI_API_KEY": "", "SERPER_API_KEY": ""}
    run = mystery.together(last_replica=mystery.production.last_replica or empty)
    return bool(run.error) and run.replicas[-1].ready and bool(mystery.replicas().failing)


def _disk(mystery: Mystery) -> bool:
    run = mystery.together(replicas=4, threads=1)
    return run.ok < len(run.requests)


def _data(mystery: Mystery) -> bool:
    run = mystery.alone()
    return any("pickle" in text for text in run.errors)


def _unbounded(mystery: Mystery) -> bool:
    run = mystery.together(quota=mystery.production.quota or 8)
    return run.ok < len(run.requests) and mystery.partners().refused > 0


def _fork(mystery: Mystery) -> bool:
    if not hasattr(os, "fork"):
        return False
    from crewlab.results.stacks import Stacks

    seen = mystery.stacks(start_method="fork")
    return isinstance(seen, Stacks) and any(f.function == "prepare_kickoff" for f in seen.waiting)


def _leak(mystery: Mystery) -> bool:
    from crewlab.results.growth import growth

    grown = growth(mystery.in_turn(20)).lives
    return any(
        (life.a_request_adds(measure) or 0) >= steep
        for life in grown
        for measure, steep in STEEP.items()
    )


def _limit(mystery: Mystery) -> bool:
    from crewlab.results.stacks import Stacks

    silent = mystery.production.silent_searches or 4
    return isinstance(mystery.stacks(patience=PATIENT, silent_searches=silent), Stacks)


def _key(mystery: Mystery) -> bool:
    if mystery.production.asks != "orders":
        return False
    mystery.kill()
    return mystery.payments().count("twice") > 0


CAUSES: dict[str, Cause] = {
    cause.name: cause
    for cause in (
        Cause(
            "shared objects",
            "01",
            ("together", "own_globals"),
            "`.alone()` is right, `.together(replicas=1)` is not, and `.own_globals(replicas=1)`"
            " is right again: the requests of one process meet in what it made at import",
            _shared,
        ),
        Cause(
            "environment",
            "02",
            ("together", "replicas"),
            "`.together()`, then `.replicas()`: one replica fails all its customers, the others"
            " fail none, and all run the same code",
            _environment,
        ),
        Cause(
            "local disk",
            "03",
            ("together",),
            "`.together(replicas=1, threads=1)` is right and `.together(replicas=4, threads=1)` is"
            " not: only what is apart between processes has changed",
            _disk,
        ),
        Cause(
            "not plain data",
            "04",
            ("alone",),
            "`.alone()` fails as well, on every request, with the word pickle in its error:"
            " an object was to cross from one process to another",
            _data,
        ),
        Cause(
            "unbounded concurrency",
            "05",
            ("together", "partners"),
            "`.together()`, then `.partners()`: the model refused requests with 429, and one"
            " replica alone never gets there",
            _unbounded,
        ),
        Cause(
            "kickoff before a fork",
            "06",
            ("stacks",),
            "`.stacks()`: requests wait in `prepare_kickoff`, and with"
            ' `.together(start_method="forkserver")` all are answered',
            _fork,
        ),
        Cause(
            "leak",
            "07",
            ("in_turn",),
            "`growth(case.in_turn(20))`: memory, files or threads grow with each request, and do"
            " not bend",
            _leak,
        ),
        Cause(
            "no time limit",
            "08",
            ("stacks",),
            "`.stacks()`: requests wait in a call of the service's own, and `.partners()` shows"
            " calls without answer",
            _limit,
        ),
        Cause(
            "effect without a key",
            "09",
            ("kill", "payments"),
            "`.kill()`, then `.payments()`: every request is answered, and orders were paid twice",
            _key,
        ),
    )
}
