"""Is the simulation honest? The same app, the same load, ``scale`` beside a real engine."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from crewlab.results.html import html_table, varies
from crewlab.results.records import KINDS
from crewlab.results.run import ContractBroken, Run, Verdict
from crewlab.results.show import Shown
from crewlab.results.text import table


@dataclass
class Fidelity(Shown):
    """Runs in pairs: under ``scale``, and under a real engine.

    Attributes:
        pairs: both runs, by what is compared.
    """

    pairs: dict[str, tuple[Run, Run]]

    @property
    def columns(self) -> tuple[str, ...]:
        """Heads of the table."""
        return ("compared", "under scale", "engine", "under the engine", "the same kinds")

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """One row a pair."""
        return [
            (name, _counts(simulated), real.start_method, _counts(real), _same(simulated, real))
            for name, (simulated, real) in self.pairs.items()
        ]

    def expect(self) -> Verdict:
        """State that the kinds of outcome are the same in each pair.

        Returns:
            One sentence that is the same whenever this holds.

        Raises:
            ContractBroken: they differ somewhere; says where.
        """
        differ = [row for row in self.rows if row[-1] != "yes"]
        if differ:
            raise ContractBroken("\n".join(f"{row[0]}: {row[1]}; {row[3]}" for row in differ))
        return Verdict("As expected: the engine's kinds of outcome are the simulation's.")

    def __str__(self) -> str:
        return table([self.columns, *self.rows])

    def _repr_html_(self) -> str:
        rows = [[escape(cell) for cell in row] for row in self.rows]
        return varies(html_table(self.columns, rows, "The simulation beside the real engines"))


def kinds(run: Run) -> set[str]:
    """Give the kinds of outcome of a run; right and wrong answers beside errors vary by luck.

    Args:
        run: the run. Where requests collide, some fail, and who of the others is answered right
            is chance: they count as one kind, "collided".
    """
    found: set[str] = {kind for kind in KINDS if run.count(kind)}
    return {"collided"} if "wrong" in found or found == {"ok", "error"} else found


def _same(simulated: Run, real: Run) -> str:
    return "yes" if kinds(simulated) == kinds(real) else "no"


def _counts(run: Run) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in run.counts.items() if number)
