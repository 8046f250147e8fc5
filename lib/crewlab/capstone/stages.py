"""The nine stages, one a cause: what is deployed, what is asked, what goes wrong meanwhile."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crewlab.companies import COMPANIES
from crewlab.errors import ToldValueError

REVIEWS = 3
CALM = 0.1  # s, of the model, where a stage says nothing else
WARM_UP = "Yarrowdale"
"""A customer that no stage has: apps may warm up with it."""

Job = dict[str, str]
Orders = Callable[[int], list[Job]]
EMPTY_KEY = "SERPER_API_KEY"


@dataclass(frozen=True)
class Stage:
    """One cause, and what brings it out.

    Attributes:
        number: of the chapter about it.
        cause: in three or four words.
        notebook: the chapter's name.
        fault: what is done to the service, as a part of a sentence.
        hint: where to look, for whom the stage fails.
        jobs: makes the requests, and those that come once these are answered.
        deployment: arguments of ``scale``.
        model: the model's settings while the stage is played.
        search: the same of the news service.
        kills: replicas that are killed once so many calls are held at the model.
        stalled_after: seconds without any movement that count as a hang.
        has_limit: whether each replica has a memory limit.
        needs_fork: whether only systems that fork can play it.
    """

    number: str
    cause: str
    notebook: str
    fault: str
    hint: str
    jobs: Callable[[Orders, random.Random], tuple[list[Job], list[Job]]]
    deployment: Mapping[str, Any]
    model: Mapping[str, Any] = field(default_factory=dict)
    search: Mapping[str, Any] = field(default_factory=dict)
    kills: int = 0
    stalled_after: float = 6.0
    has_limit: bool = False
    needs_fork: bool = False

    @property
    def can_be_played(self) -> bool:
        """Whether this system has what the stage needs."""
        return hasattr(os, "fork") or not self.needs_fork


def _orders(count: int, copies: int = 0) -> Any:
    def jobs(orders: Orders, _draw: random.Random) -> tuple[list[Job], list[Job]]:
        taken = orders(count)
        return [*taken, *taken[-1:] * copies], []

    return jobs


def _orders_then_reports(orders: Orders, _draw: random.Random) -> tuple[list[Job], list[Job]]:
    """The first report is asked for twice at once: one of two replicas has not taken its order.

    In any other order of the reports, each may by luck meet the replica that took its order.
    """
    taken = orders(4)
    reports = [{"job": "report", "company": order["company"]} for order in reversed(taken)]
    return taken, [reports[0], *reports]


def _reviews(_orders: Orders, draw: random.Random) -> tuple[list[Job], list[Job]]:
    return [{"job": "reviews", "company": company} for company in customers(2, draw)], []


def customers(count: int, draw: random.Random) -> list[str]:
    """Draw some companies, each once, and never the one for warm-ups."""
    return draw.sample([name for name in COMPANIES if name != WARM_UP], count)


_ALL = (
    Stage(
        "01",
        "shared crews",
        "01_build_crews_inside_functions",
        "ten customers at once, on two replicas of five threads",
        "Which objects does one kickoff share with another one of the same process?",
        _orders(10),
        {"replicas": 2, "threads": 5},
        {"latency": 0.6},
    ),
    Stage(
        "02",
        "unchecked environment",
        "02_check_the_environment_at_start_up",
        f"a third replica comes up with {EMPTY_KEY} set to nothing",
        "A replica without its key must end at start-up and name the variable, all the missing"
        " ones at once, and no value.",
        _orders(6),
        {"replicas": 3, "threads": 1, "env": [{}, {}, {EMPTY_KEY: ""}]},
    ),
    Stage(
        "03",
        "files on a replica's disk",
        "03_keep_nothing_on_a_replicas_disk",
        "orders on Monday, reports on Tuesday; two replicas with a read-only root",
        "What is written in one replica is read in another. Where can both reach it?",
        _orders_then_reports,
        {
            "replicas": 2,
            "threads": 1,
            "read_only": True,
            "env": {"CREWAI_STORAGE_DIR": "$(TMPDIR)/crewai"},
        },
    ),
    Stage(
        "04",
        "objects sent to a process",
        "04_send_plain_data",
        "the work is done in a job process (JOB_PROCESSES=1)",
        "What goes to a job process has to be plain data. It can build its crew there.",
        _orders(2),
        {"replicas": 1, "threads": 1, "env": {"JOB_PROCESSES": "1"}},
        needs_fork=True,
    ),
    Stage(
        "05",
        "unbounded concurrency",
        "05_bound_your_concurrency",
        "a model with two places (MODEL_QUOTA=2) for two replicas; one more call gets a 429",
        "How many calls does one tool make at once, times REPLICAS? And how long does a refused"
        " call wait before it comes again?",
        _reviews,
        {"replicas": 2, "threads": 1, "env": {"MODEL_QUOTA": "2", "REPLICAS": "2"}},
        {"latency": 0.7, "max_in_flight": 2},
    ),
    Stage(
        "06",
        "a kickoff before the fork",
        "06_never_kick_off_before_a_fork",
        "the service is preloaded: imported once, then forked",
        "Nothing answers and nothing is logged. What was kicked off when the module was imported?",
        _orders(2),
        {"replicas": 2, "threads": 1, "start_method": "fork"},
        stalled_after=4.0,
        needs_fork=True,
    ),
    Stage(
        "07",
        "a leak",
        "07_find_the_leak_before_the_oom_killer",
        "sixteen orders, one after another, on a replica with a memory limit",
        "Each order leaves its contract in memory. What lives as long as the process, and refers"
        " to it?",
        _orders(16),
        {"replicas": 1, "threads": 1},
        {"latency": 0.0},
        {"latency": 0.0},
        has_limit=True,
    ),
    Stage(
        "08",
        "waiting without a limit",
        "08_make_time_limits_limit",
        "the model and the news service each leave a call unanswered, and the model fails once",
        "Who waits for the model, who for the news, and for how long at most? Two seconds are"
        " plenty here.",
        _orders(3),
        {"replicas": 1, "threads": 1},
        {"hang": [1], "errors": {4: 500}},
        {"hang": [1]},
    ),
    Stage(
        "09",
        "effects done twice",
        "09_die_well",
        "two replicas are killed in the middle of a job, and one order is delivered twice",
        "A job that comes again charges again. What is the payment's key made of, and who looks"
        " whether it is there?",
        _orders(3, copies=1),
        {"replicas": 2, "threads": 1, "redeliver": 2},
        {"hang": [1, 2]},
        kills=2,
    ),
)

STAGES: dict[str, Stage] = {stage.number: stage for stage in _ALL}


def stage(number: str) -> Stage:
    """Find a stage.

    Args:
        number: such as "01".

    Raises:
        ValueError: there is none of that number.
    """
    found = STAGES.get(str(number).zfill(2))
    if found is None:
        known: Sequence[str] = tuple(STAGES)
        raise ToldValueError(
            f"There is no stage {number!r}.\nThey are named after the chapters: "
            f"{', '.join(known)}.\nFor example play(service, '01')."
        )
    return found
