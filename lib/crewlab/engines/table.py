"""Several engines under the same load, as a table and a picture."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from crewlab.results.html import html_table, varies
from crewlab.results.run import ContractBroken, Run, Verdict
from crewlab.results.show import Shown
from crewlab.results.style import COLOURS
from crewlab.results.text import table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass
class Engines(Shown):
    """Runs of one app under several engines.

    Attributes:
        runs: by the engine's name.
    """

    runs: dict[str, Run]

    @property
    def columns(self) -> tuple[str, ...]:
        """Heads of the table."""
        return ("engine", "right", "start-up, s", "requests a second", "memory of all workers, MiB")

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """One row an engine."""
        return [
            (
                name,
                f"{run.ok} of {len(run.requests)}",
                f"{run.startup_seconds:.1f}",
                f"{_rate(run):.1f}",
                f"{_memory(run):.0f}",
            )
            for name, run in self.runs.items()
        ]

    def expect(self) -> Verdict:
        """State that each engine answers every request right.

        Returns:
            One sentence that is the same whenever this holds.

        Raises:
            ContractBroken: one does not; says which.
        """
        wrong = [
            row[0]
            for row, run in zip(self.rows, self.runs.values(), strict=True)
            if run.ok < len(run.requests)
        ]
        if wrong:
            raise ContractBroken(f"Not every request is answered right by: {', '.join(wrong)}.")
        return Verdict(f"As expected: {len(self.runs)} engines answer every request right.")

    def picture(self) -> Figure:
        """Draw start-up, throughput and memory as bars, one panel each."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9.0, 2.6))
        panels = figure.subplots(1, 3, sharey=True)
        figure.subplots_adjust(left=0.17, right=0.98, bottom=0.2, top=0.88, wspace=0.1)
        names = list(self.runs)
        measures = (
            ("start-up, s", [run.startup_seconds for run in self.runs.values()]),
            ("requests a second", [_rate(run) for run in self.runs.values()]),
            ("memory, MiB", [_memory(run) for run in self.runs.values()]),
        )
        for panel, (title, values) in zip(panels, measures, strict=True):
            bars = panel.barh(names, values, color=COLOURS["ok"])
            panel.bar_label(bars, fmt="%.1f" if max(values) < 50 else "%.0f", padding=2, fontsize=8)
            panel.set_title(title, fontsize=10)
            panel.margins(x=0.2)
        panels[0].invert_yaxis()
        return figure

    def __str__(self) -> str:
        return table([self.columns, *self.rows])

    def _repr_html_(self) -> str:
        rows = [[escape(cell) for cell in row] for row in self.rows]
        return varies(html_table(self.columns, rows, "Engines under the same load"))


def _rate(run: Run) -> float:
    return run.ok / run.seconds if run.seconds else 0.0


def _memory(run: Run) -> float:
    return sum(replica.peak_memory for replica in run.replicas)
