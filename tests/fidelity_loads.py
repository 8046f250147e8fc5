"""How the rows of chapter 13's table are run: under ``scale``, and under each engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from crewlab import App, Eviction, Run, scale
from crewlab.companies import COMPANIES
from crewlab.engines import celery, gunicorn, ray_actors, uvicorn
from crewlab.overload import LATENCY, LONGEST_WAIT, QUOTA, RETRY_AFTER
from crewlab.results.ledger import audit
from crewlab.services import Services
from crewlab.services.shop import Shop
from tests import fidelity_table as hosted

SCALE = "scale"
PATIENCE = 240.0  # s, where every request is to have an outcome
CUT_OFF = 3.0  # s, where none will ever have one
NO_KEYS = {"OPENAI_API_KEY": None, "SERPER_API_KEY": None}
ORDERS = {company: f"U{number}" for number, company in enumerate(COMPANIES[:6], 101)}
MARGIN = 60  # MiB above what four requests need
A_REPLICA = 16  # requests, of which a leaking process answers about eleven within the limit
LATE = {
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
}
SOON = {
    "broker_transport_options": {
        "visibility_timeout": 5,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    }
}
"""For machines that die with all they have. A starved one meets it too, and jobs come twice."""

ONE_AT_A_TIME = {"worker_prefetch_multiplier": 1}


def start(app: App, under: str, options: Mapping[str, Any]) -> Run:
    """Run an app under ``scale`` or an engine; what the engine has no use for is left out."""
    if under == SCALE:
        return scale(app, **options)
    given = dict(options)
    if under == hosted.UVICORN:
        return uvicorn(app, **{**given, "replicas": 1})
    if under in (hosted.GUNICORN, hosted.PRELOAD):
        return gunicorn(app, preload=under == hosted.PRELOAD, **given)
    if under == hosted.RAY:
        given.pop("settings", None)  # of Celery
        return ray_actors(app, **given)
    if under == hosted.PREFORK:
        given.pop("threads", None)
    pool = "prefork" if under == hosted.PREFORK else "threads"
    return celery(app, pool=pool, **given)  # type: ignore[arg-type]


@dataclass
class Loads:
    """Knows each row's load; what was measured for one row serves all that need it."""

    services: Services
    app_of: Callable[[str, str], App]
    _limits: dict[str, float] = field(default_factory=dict)
    _simulated: dict[str, Run] = field(default_factory=dict)

    def simulated(self, row: hosted.Row) -> Run:
        """Give the run under ``scale`` that an engine's is held against, started once."""
        if row.name not in self._simulated:
            self._simulated[row.name] = self.run(row, SCALE)
        return self._simulated[row.name]

    def run(self, row: hosted.Row, under: str) -> Run:
        """Run one row under ``scale`` or an engine, and demand its outcome."""
        self._calm()
        shop = Shop(self.services) if row.chapter == "09" else None
        try:
            options = self._options(row, under, shop)
            run = start(self.app_of(row.chapter, row.app), under, options)
        finally:
            self._calm()
        run.expect(error=ERRORS.get(row.name), **row.outcome)  # type: ignore[arg-type]
        if shop is not None:
            audit(run, shop).expect(**row.paid)  # type: ignore[arg-type]
        return run

    def _calm(self) -> None:
        for endpoint in (self.services.model, self.services.search):
            endpoint.configure()
            endpoint.reset()

    def _options(self, row: hosted.Row, under: str, shop: Shop | None) -> dict[str, Any]:
        if shop is not None:
            return self._kills(row, under, shop)
        crowd = {"replicas": 2, "threads": 4, "requests": 12, "timeout": PATIENCE}
        return crowd | LOADS[row.name](self, under)

    # --- one method a kind of load: what differs from a crowd of 12 customers

    def _crowd(self, under: str) -> dict[str, Any]:
        return {}

    def _one_each(self, under: str) -> dict[str, Any]:
        return {"threads": 1, "requests": 4}

    def _many_at_once(self, under: str) -> dict[str, Any]:
        return {"threads": 6, "requests": 24}

    def _without_keys(self, under: str) -> dict[str, Any]:
        return {"threads": 2, "requests": 4, "env": NO_KEYS}

    def _one_without_keys(self, under: str) -> dict[str, Any]:
        self.services.model.configure(latency=0.4)
        settings = {} if under == SCALE else {"settings": ONE_AT_A_TIME}
        return {"threads": 2, "env": [{}, NO_KEYS], **settings}

    def _two_days(self, under: str) -> dict[str, Any]:
        """Orders, then two reports in a row about each: at most one machine has the order."""
        self.services.model.configure(latency=0.5)
        settings = {"settings": ONE_AT_A_TIME} if under == hosted.THREADS else {}
        return {
            "threads": 2,
            "requests": [{"company": name, "order": order} for name, order in ORDERS.items()],
            "then": [{"company": name} for name in ORDERS for _ in range(2)],
            "judge": lambda inputs, answer: ORDERS[inputs["company"]] in answer,
            "env": {"BUCKET": self.services.storage.new_bucket()},
            **settings,
        }

    def _one_disk(self, under: str) -> dict[str, Any]:
        """One machine is one replica under scale, and all workers of an engine that forks them."""
        return self._two_days(under) | {"replicas": 1 if under == SCALE else 2}

    def _job_process(self, under: str) -> dict[str, Any]:
        return {"requests": 8, "env": {"JOB_PROCESSES": "1"}}

    def _forked(self, under: str) -> dict[str, Any]:
        fork = {"start_method": "fork"} if under == SCALE else {}
        return {"threads": 1, "requests": 2, "env": {"JOB_PROCESSES": "1"}, **fork}

    def _forked_silence(self, under: str) -> dict[str, Any]:
        return self._forked(under) | {"timeout": CUT_OFF}

    def _alone(self, under: str) -> dict[str, Any]:
        return {"replicas": 1, "threads": 2, "requests": 2}

    def _overload(self, under: str) -> dict[str, Any]:
        deadline = time.monotonic() + LONGEST_WAIT
        while self.services.model.stats().in_flight and time.monotonic() < deadline:
            time.sleep(0.02)
        self.services.model.configure(
            latency=3 * LATENCY, max_in_flight=QUOTA, retry_after=RETRY_AFTER
        )
        settings = {} if under == SCALE else {"settings": ONE_AT_A_TIME}
        env = {"MODEL_QUOTA": str(QUOTA), "REPLICAS": "8"}
        return {"replicas": 8, "threads": 1, "requests": 8, "env": env, **settings}

    def limit(self, under: str) -> float:
        """Give MiB that the leaking app of chapter 07 passes in the middle of its load."""
        if under not in self._limits:
            few = {"replicas": 1, "threads": 1, "requests": 4, "timeout": PATIENCE}
            run = start(self.app_of("07", "broken"), under, few)
            run.expect(ok="all")
            self._limits[under] = round(run.replicas[0].peak_memory) + MARGIN
        return self._limits[under]

    def _limited(self, under: str) -> dict[str, Any]:
        again = {"restarts": 10} if under == SCALE else {"settings": ONE_AT_A_TIME}
        load: dict[str, Any] = {"replicas": 1, "threads": 1, "requests": A_REPLICA}
        load["memory_limit"] = self.limit(under)
        return load | again

    def _recycled(self, under: str) -> dict[str, Any]:
        load: dict[str, Any] = {"replicas": 1, "threads": 1, "requests": A_REPLICA}
        load["memory_limit"] = self.limit(under)
        if under == SCALE:
            return load | {"recycle_after": 6}
        return load | {"settings": {**ONE_AT_A_TIME, "worker_max_tasks_per_child": 6}}

    def _slow_news(self, under: str) -> dict[str, Any]:
        self.services.search.configure(latency=4)
        return {"threads": 2, "requests": 4}

    def _outage(self, under: str) -> dict[str, Any]:
        self.services.model.configure(hang=[1, 2])
        self.services.search.configure(hang=[1, 2], latency=4)
        return {"threads": 2, "requests": 8}

    def _silence(self, under: str) -> dict[str, Any]:
        return self._outage(under) | {"timeout": CUT_OFF}

    def _kills(self, row: hosted.Row, under: str, shop: Shop) -> dict[str, Any]:
        in_mid_job = shop.hold_jobs(2)
        again = "again" in row.load
        load: dict[str, Any] = {
            "replicas": 2,
            "threads": 1,
            "requests": shop.orders(4),
            "env": shop.environment,
            "evict": [Eviction(number, when=in_mid_job) for number in (0, 1)],
            "timeout": PATIENCE,
        }
        if under in (SCALE, hosted.RAY):
            return load | {"redeliver": int(again)}
        late = LATE | SOON if under == hosted.THREADS else LATE
        return load | {"settings": late if again else ONE_AT_A_TIME}


LOADS: dict[str, Callable[[Loads, str], dict[str, Any]]] = {
    "01 broken, several requests a process": Loads._many_at_once,
    "01 broken, one request a process": Loads._one_each,
    "01 fixed, several requests a process": Loads._crowd,
    "01 copied, several requests a process": Loads._crowd,
    "01 old_style, several requests a process": Loads._crowd,
    "02 broken, no replica has its keys": Loads._without_keys,
    "02 broken, one of two replicas lacks its keys": Loads._one_without_keys,
    "02 fixed, no replica has its keys": Loads._without_keys,
    "02 fixed, one of two replicas lacks its keys": Loads._one_without_keys,
    "03 broken, orders, then reports, on two machines": Loads._two_days,
    "03 broken, orders, then reports, on one machine": Loads._one_disk,
    "03 fixed, orders, then reports, on two machines": Loads._two_days,
    "03 fixed, orders, then reports, on one machine": Loads._one_disk,
    "04 broken, a job process beside each worker": Loads._job_process,
    "04 fixed, a job process beside each worker": Loads._job_process,
    "04 fixed, imported, then forked": Loads._forked_silence,
    "05 broken, 8 customers, a model with 8 places": Loads._overload,
    "05 fixed, 8 customers, a model with 8 places": Loads._overload,
    "06 broken, imported, then forked": Loads._forked_silence,
    "06 broken, not forked": Loads._alone,
    "06 fixed, imported, then forked": Loads._forked,
    "07 broken, a memory limit, started again": Loads._limited,
    "07 broken, a memory limit, replaced after 6 requests": Loads._recycled,
    "07 fixed, a memory limit, started again": Loads._limited,
    "08 broken, news that takes 4 s": Loads._slow_news,
    "08 broken, calls that are never answered": Loads._silence,
    "08 fixed, calls that are never answered": Loads._outage,
}

SETTINGS = "2 validation errors for Settings"
ERRORS = {
    "01 broken, several requests a process": "Executor is already running",
    "01 old_style, several requests a process": "2 validation errors for Agent",
    "02 broken, no replica has its keys": "OPENAI_API_KEY is required",
    "02 broken, one of two replicas lacks its keys": "OPENAI_API_KEY is required",
    "02 fixed, no replica has its keys": SETTINGS,
    "02 fixed, one of two replicas lacks its keys": SETTINGS,
    "04 broken, a job process beside each worker": "cannot pickle '_thread.RLock' object",
    "05 broken, 8 customers, a model with 8 places": "Rate limit reached",
    "08 broken, news that takes 4 s": "execution timed out after 2 seconds",
}
"""What an error says, of a request or of a replica that does not start."""
