"""Takes the model's figures from real runs on this machine."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from crewlab.app import App
from crewlab.capacity.model import Measured, Replica, Request
from crewlab.capacity.probe import MARK
from crewlab.companies import default_requests
from crewlab.errors import ToldValueError
from crewlab.results.run import ContractBroken, Run

if TYPE_CHECKING:
    from crewlab.deployment.plan import StartMethod
    from crewlab.services import Call

TIMEOUT = 600.0
"""Seconds for start-up and for the requests: a busy machine may take its time to be measured."""
TICK = 0.001
"""CPU seconds that anything takes at least: a coarse clock shows 0 for what is shorter."""
MODULE = "measured_{name}"
_TEXT = '''"""Made by crewlab: the app {name}, read while it works."""

from crewlab.capacity.probe import load

run = load({folder!r}, {name!r})
'''


@dataclass(frozen=True)
class Reading:
    """What one run took.

    Attributes:
        run: what happened to its requests.
        private: MiB of each replica's own, after its last request.
        common: MiB that replicas share: the most that one has beside its own.
        proportional: MiB of all replicas as Linux divides what is shared; 0 elsewhere.
        start_cpu: CPU seconds of each replica until its app was imported.
        request_cpu: CPU seconds of the second half of the requests, all replicas together.
        calls: the model's journal of all requests.
    """

    run: Run
    private: Sequence[float]
    common: float
    proportional: float
    start_cpu: Sequence[float]
    request_cpu: float
    calls: Sequence[Call]

    @property
    def memory(self) -> float:
        """MiB of all replicas: each one's own, and once what they share."""
        return sum(self.private) + self.common

    @property
    def tokens(self) -> tuple[int, int]:
        """Tokens of the questions and of the answers."""
        return (
            sum(call.prompt_tokens for call in self.calls),
            sum(call.completion_tokens for call in self.calls),
        )


def measure(app: App | str | Path, *, threads: int = 2) -> Measured:
    """Measure what one replica and one request of an app cost.

    It deploys the app twice: on one replica that is forked from a parent with CrewAI imported, and
    on one that imports everything itself. Each answers ``threads`` customers to get warm, and as
    many again, which count.

    Args:
        app: what a ``%%app`` cell bound, or the path of its file.
        threads: requests the replica works on at the same time.

    Returns:
        The figures.

    Raises:
        ContractBroken: the app does not answer every customer, so its costs are none.
        ValueError: the model is not the local one, which counts calls and tokens.
    """
    forked = read(app, replicas=1, threads=threads)  # the first: others share its libraries
    alone = read(app, replicas=1, threads=threads, start_method="spawn")
    customers = len(forked.run.requests)
    prompt, completion = forked.tokens
    is_preloaded = (
        forked.run.start_method == "forkserver" and os.environ.get("CREWLAB_PRELOAD") != "off"
    )
    return Measured(
        app=_as_app(app).name,
        threads=threads,
        alone=_replica(alone),
        preloaded=_replica(forked) if is_preloaded else None,
        request=Request(
            cpu=max(TICK, forked.request_cpu / (customers / 2)),
            calls=len(forked.calls) / customers,
            prompt_tokens=prompt / customers,
            completion_tokens=completion / customers,
            call_seconds=median([call.finished - call.started for call in forked.calls] or [0.0]),
        ),
    )


def read(
    app: App | str | Path,
    *,
    replicas: int,
    threads: int,
    start_method: StartMethod = "forkserver",
) -> Reading:
    """Deploy an app, give every thread two customers one after the other, and read what it took.

    Args:
        app: the app.
        replicas: how many.
        threads: requests each works on at the same time.
        start_method: how they are started.

    Returns:
        The reading. The first customer of each thread only makes its replica warm.

    Raises:
        ContractBroken: not every customer is answered.
        ValueError: the model is not the local one.
    """
    from crewlab.deployment import scale
    from crewlab.deployment.scratch import scratch_folder

    model = _local_model()
    kept = _as_app(app)
    customers = default_requests(2 * replicas * threads)
    half = replicas * threads
    folder = Path(tempfile.mkdtemp(prefix="capacity-", dir=scratch_folder()))
    try:
        name = MODULE.format(name=kept.name)
        wrapper = folder / f"{name}.py"
        wrapper.write_text(
            _TEXT.format(name=kept.name, folder=str(kept.path.parent)), encoding="utf-8"
        )
        model.reset()
        run = scale(
            App(name, wrapper),
            replicas=replicas,
            threads=threads,
            requests=customers[:half],
            then=customers[half:],
            start_method=start_method,
            timeout=TIMEOUT,
            startup_timeout=TIMEOUT,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if run.ok < len(run.requests):
        raise ContractBroken(
            f"{kept.name} answers {run.ok} of {len(run.requests)} customers right,"
            " and what a failing app costs says nothing.\n"
            f"First error: {run.first_error or 'none'}.\nMeasure an app that works."
        )
    return _reading(run, model.journal())


def _reading(run: Run, calls: Sequence[Call]) -> Reading:
    said = [_last_line(replica.log) for replica in run.replicas]
    warm = run.threads - 1  # the place of the last request of the first half
    return Reading(
        run=run,
        private=[line["private"] for line in said],
        common=max(line["resident"] - line["private"] for line in said),
        proportional=sum(line["proportional"] for line in said),
        start_cpu=[line["start"] for line in said],
        request_cpu=sum(line["cpu"][-1] - line["cpu"][warm] for line in said),
        calls=calls,
    )


def _last_line(log: str) -> dict[str, Any]:
    lines = [line for line in log.splitlines() if line.startswith(MARK)]
    reading: dict[str, Any] = json.loads(lines[-1].removeprefix(MARK))
    return reading


def _replica(reading: Reading) -> Replica:
    return Replica(reading.private[0], reading.common, max(TICK, reading.start_cpu[0]))


def _as_app(app: App | str | Path) -> App:
    from crewlab.deployment.plan import as_app

    return as_app(app)


def _local_model() -> Any:
    from crewlab.services import start

    running = start()
    if not running.model_is_local:
        raise ToldValueError(
            "Capacity is measured against the local model, which counts calls and tokens.\n"
            "OPENAI_BASE_URL and OPENAI_API_KEY lead to a model of your own.\n"
            "Take both away and restart the kernel; your model's figures are typed in later."
        )
    return running.model
