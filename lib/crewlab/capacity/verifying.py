"""The model's predictions beside what several replicas really took."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from crewlab.app import App
from crewlab.capacity.measuring import Reading, read
from crewlab.capacity.model import Measured, cost_of, memory, ready_after
from crewlab.results.html import html_table, varies
from crewlab.results.run import ContractBroken, Verdict
from crewlab.results.show import Shown
from crewlab.results.text import table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from crewlab.deployment.plan import StartMethod

COLUMNS = ("what", "replicas", "predicted", "measured", "error")
CAPTION = "Predicted from one replica, and measured"

MEMORY, CALLS, TOKENS = "memory, MiB", "calls to the model", "tokens"
START, READY, CPU = "start-up, CPU s", "all ready after, s", "warm requests, CPU s"
STEADY = (MEMORY, CALLS, TOKENS)
"""What does not depend on how busy the machine is; CPU time, too, grows where cores are shared."""


@dataclass(frozen=True)
class Pair:
    """One quantity at one number of replicas.

    Attributes:
        what: the quantity with its unit.
        replicas: how many.
        predicted: by the model.
        measured: in the run.
    """

    what: str
    replicas: int
    predicted: float
    measured: float

    @property
    def error(self) -> float:
        """How far the prediction is off, as a part of what was measured."""
        if not self.measured:
            return math.inf if self.predicted else 0.0
        return (self.predicted - self.measured) / self.measured

    def row(self) -> tuple[str, ...]:
        """Give one row of texts, as ``COLUMNS`` names them."""
        digits = 0 if self.what in STEADY else 1
        return (
            self.what,
            str(self.replicas),
            f"{self.predicted:,.{digits}f}",
            f"{self.measured:,.{digits}f}",
            f"{round(self.error, 2) + 0.0:+.0%}",  # never "-0%"
        )


@dataclass(frozen=True)
class Verification(Shown):
    """Predictions and measurements of one app.

    Attributes:
        measured: what the predictions are made from.
        preloaded: whether the replicas were forked from a parent that has imported CrewAI.
        cores: of this machine, as far as this process may use them.
        readings: what was measured, by the number of replicas.
    """

    measured: Measured
    preloaded: bool
    cores: int
    readings: Mapping[int, Reading]

    @property
    def pairs(self) -> list[Pair]:
        """Every quantity at every number of replicas, sorted by quantity."""
        replica = cost_of(self.measured, preloaded=self.preloaded)
        request = self.measured.request
        warm = self.measured.threads  # requests a replica in the second half; all are twice that
        what: dict[str, tuple[Callable[[int], float], Callable[[Reading], float]]] = {
            MEMORY: (lambda n: memory(replica, n), lambda found: found.memory),
            START: (lambda n: n * replica.start_cpu, lambda found: sum(found.start_cpu)),
            READY: (
                lambda n: ready_after(self.measured, n, self.cores, preloaded=False),
                lambda found: found.run.startup_seconds,
            ),
            CPU: (lambda n: n * warm * request.cpu, lambda found: found.request_cpu),
            CALLS: (lambda n: n * 2 * warm * request.calls, lambda found: len(found.calls)),
            TOKENS: (lambda n: n * 2 * warm * request.tokens, lambda found: sum(found.tokens)),
        }
        if self.preloaded:  # their parent has been here for long: nothing is imported any more
            del what[START], what[READY]
        return [
            Pair(name, number, float(predict(number)), float(look(found)))
            for name, (predict, look) in what.items()
            for number, found in self.readings.items()
        ]

    def expect(self, *, within: float = 0.25) -> Verdict:
        """State that memory, calls and tokens come out as predicted.

        Times are shown and not judged: they grow where others use the machine as well.

        Args:
            within: how far a prediction may be off, as a part of what was measured.

        Returns:
            One sentence that is the same whenever this holds.

        Raises:
            ContractBroken: it does not hold; says where.
        """
        for pair in self.pairs:
            if pair.what in STEADY and abs(pair.error) > within:
                raise ContractBroken(
                    f"Predicted for {pair.replicas} replicas: {pair.predicted:.0f} {pair.what}.\n"
                    f"Measured: {pair.measured:.0f}, which is more than {within:.0%} away.\n"
                    "Does something grow with each request, or differ from replica to replica?"
                )
        numbers = ", ".join(map(str, self.readings))
        return Verdict(
            f"As expected: memory, calls and tokens of {numbers} replicas"
            f" are within {within:.0%} of the prediction."
        )

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The table."""
        return [pair.row() for pair in self.pairs]

    def picture(self) -> Figure:
        """Draw each prediction as a line and each measurement as a mark, one panel a quantity."""
        from crewlab.capacity.pictures import draw_verification

        return draw_verification(self.pairs)

    def __str__(self) -> str:
        return f"{CAPTION}\n{table([COLUMNS, *self.rows])}"

    def _repr_html_(self) -> str:
        rows = [[escape(cell) for cell in row] for row in self.rows]
        return varies(html_table(COLUMNS, rows, CAPTION))


def verify(
    measured: Measured,
    app: App | str | Path,
    *,
    replicas: Sequence[int] = (1, 2, 4, 8),
    start_method: StartMethod = "forkserver",
) -> Verification:
    """Deploy an app on several numbers of replicas, and compare with the model's prediction.

    Args:
        measured: what ``measure`` found for this app.
        app: the same app.
        replicas: how many, for each run.
        start_method: "forkserver": preloaded replicas; "spawn": each imports CrewAI, which takes
            some 5 CPU seconds a replica.

    Returns:
        Predicted against measured: memory, CPU time, calls and tokens.

    Raises:
        ContractBroken: not every customer is answered.
        ValueError: the model is not the local one, or a number that cannot be deployed.
    """
    readings = {
        number: read(app, replicas=number, threads=measured.threads, start_method=start_method)
        for number in replicas
    }
    preloaded = start_method != "spawn" and measured.preloaded is not None
    return Verification(measured, preloaded, _cores(), readings)


def _cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
