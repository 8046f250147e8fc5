"""What a replica costs by the way it is started: time until it is ready, memory of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from crewlab.results.run import ContractBroken, Run, Verdict
from crewlab.results.show import Shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = ("started how", "ready after", "private memory", "four replicas need")
CAPTION = "One replica, in the middle of those measured"
FOUR = 4
_PRIVATE = re.compile(r"^private memory: (\d+) MiB$", re.MULTILINE)


@dataclass(frozen=True)
class Cost:
    """One replica's.

    Attributes:
        seconds: from its start until it was ready.
        private: MiB that no other process shares.
    """

    seconds: float
    private: float


class Costs(Shown):
    """The costs of a replica for each way to start one.

    Attributes:
        of: for each way, the median of its replicas.
    """

    def __init__(self, runs: Mapping[str, Run]) -> None:
        """Read the runs.

        Args:
            runs: by the way their replicas were started. Their apps print
                ``private memory: N MiB`` into the log.

        Raises:
            ContractBroken: a run has no replica that was ready and printed its memory.
        """
        self.of = {name: _cost(name, run) for name, run in runs.items()}

    def expect(self, *, small: str, large: str) -> Verdict:
        """State that one way needs less than half of the memory of another.

        Args:
            small: name of the way that needs less.
            large: name of the other.

        Returns:
            One sentence that is the same whenever this holds.

        Raises:
            ContractBroken: it does not hold.
        """
        less, more = self.of[small].private, self.of[large].private
        if less * 2 >= more:
            raise ContractBroken(
                f"A {small} replica has {less:.0f} MiB of its own, a {large} one {more:.0f} MiB.\n"
                "It was expected to have less than half.\n"
                "If you edited the app, run its cell as it was."
            )
        return Verdict(f"As expected: a {small} replica has less than half the memory of its own.")

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """One row of texts for each way, as ``COLUMNS`` names them."""
        return [
            (
                name,
                f"{cost.seconds:.2f} s",
                f"{cost.private:.0f} MiB",
                f"{FOUR * cost.private:.0f} MiB",
            )
            for name, cost in self.of.items()
        ]

    def picture(self) -> Figure:
        """Draw both as bars, one panel each."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9.0, 1.9), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        looks = [("#0072B2", ""), ("#E69F00", "//")]
        values = {
            "seconds until ready": [cost.seconds for cost in self.of.values()],
            "MiB of its own": [cost.private for cost in self.of.values()],
        }
        for panel, (label, numbers) in zip(panels, values.items(), strict=True):
            for place, number in enumerate(numbers):
                colour, hatch = looks[place % len(looks)]
                bar = panel.barh(place, number, color=colour, hatch=hatch, edgecolor="white")
                panel.bar_label(bar, fmt="%.2f" if number < 10 else "%.0f", padding=3)
            panel.set_xlabel(label)
            panel.set_xlim(0, max(numbers) * 1.2)
            panel.set_yticks(range(len(numbers)), labels=list(self.of))
        panels[0].invert_yaxis()
        return figure

    def __str__(self) -> str:
        from crewlab.results.text import table

        return f"{CAPTION}\n{table([COLUMNS, *self.rows])}"

    def _repr_html_(self) -> str:
        from html import escape

        from crewlab.results.html import html_table, varies

        rows = [[escape(cell) for cell in row] for row in self.rows]
        return varies(html_table(COLUMNS, rows, CAPTION))


def _cost(name: str, run: Run) -> Cost:
    seconds = [r.ready_after for r in run.replicas if r.ready_after is not None]
    private = [float(found[-1]) for r in run.replicas if (found := _PRIVATE.findall(r.log))]
    if not seconds or not private:
        raise ContractBroken(
            f"The {name} replicas did not say how much memory they have of their own.\n"
            "Each prints it after a request.\n"
            f"First error: {run.first_error or 'none'}."
        )
    return Cost(median(seconds), median(private))
