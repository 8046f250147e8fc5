"""Two more looks at a run: replica by replica, and from where its partners stand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from crewlab.results.html import html_table, varies
from crewlab.results.records import KINDS
from crewlab.results.show import Shown
from crewlab.results.text import cut, table

if TYPE_CHECKING:
    from crewlab.results.run import Run
    from crewlab.services import Services, Stats

LONGEST = 110
"""Characters of an error or log line that are shown."""

_NOISE = re.compile("approximate input token count|config file not found|^'\\w+' \\(expected|^\\s")
"""What CrewAI 1.15.30 prints whether or not something is wrong."""


@dataclass(frozen=True)
class Table(Shown):
    """Something seen, as a table.

    Attributes:
        caption: what it is.
        columns: heads.
        rows: texts.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        return f"{self.caption}\n{table([self.columns, *self.rows])}"

    def _repr_html_(self) -> str:
        rows = [[escape(cell) for cell in row] for row in self.rows]
        return varies(html_table(self.columns, rows, self.caption))


@dataclass(frozen=True)
class Replicas(Table):
    """A run, replica by replica.

    Attributes:
        failing: the replicas that answered none of the customers they had.
        serving: the replicas that answered each of theirs right.
    """

    failing: tuple[str, ...] = ()
    serving: tuple[str, ...] = ()


@dataclass(frozen=True)
class Partners(Table):
    """What model and search saw of a run.

    Attributes:
        model: the model's counters when the run ended.
        search: the search's.
    """

    model: Stats
    search: Stats

    @property
    def refused(self) -> int:
        """How many requests the model refused because there were too many at once."""
        return self.model.by_status.get(429, 0)


def replicas_of(run: Run) -> Replicas:
    """Sort a run's outcomes by replica.

    Args:
        run: any run.
    """
    rows, failing, serving = [], [], []
    for replica in run.replicas:
        had = [record for record in run.requests if record.replica == replica.name]
        counts = [f"{sum(r.kind == kind for r in had)} {kind}" for kind in KINDS]
        outcomes = ", ".join(text for text in counts if not text.startswith("0 ")) or "-"
        error = replica.error or next((r.error for r in had if r.kind == "error"), None)
        printed = [line for line in replica.log.strip().splitlines() if not _NOISE.search(line)]
        ready = "never" if replica.ready_after is None else f"after {replica.ready_after:.1f} s"
        rows.append(
            (
                replica.name,
                ready,
                outcomes,
                cut(error or "-", LONGEST),
                cut(printed[-1] if printed else "-", LONGEST),
            )
        )
        if had and all(record.kind == "error" for record in had):
            failing.append(replica.name)
        elif had and all(record.kind == "ok" for record in had):
            serving.append(replica.name)
    columns = ("replica", "ready", "outcomes", "first error", "last line of its log")
    return Replicas(
        "Replica by replica", columns, tuple(rows), failing=tuple(failing), serving=tuple(serving)
    )


def partners_of(local: Services) -> Partners:
    """Read the counters of model and search.

    Args:
        local: the local services.
    """
    stats = {"model": local.model.stats(), "search": local.search.stats()}
    rows = tuple(
        (
            name,
            str(seen.total),
            str(seen.by_status.get(200, 0)),
            str(seen.by_status.get(429, 0)),
            str(seen.in_flight + seen.by_status.get(499, 0)),
            str(seen.peak_in_flight),
        )
        for name, seen in stats.items()
    )
    columns = ("partner", "calls", "answered", "refused (429)", "without answer", "most at once")
    return Partners("What the partners saw", columns, rows, **stats)
