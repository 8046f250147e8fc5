"""A run and a comparison as plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crewlab.results.records import KINDS

if TYPE_CHECKING:
    from crewlab.results.compare import Comparison
    from crewlab.results.run import Run

REPLICA_COLUMNS = ("NAME", "READY", "STATUS", "RESTARTS", "EXIT CODE", "PEAK MEMORY")
MAX_EXAMPLES = 3
LONGEST_WORD = 30


def headline(run: Run) -> str:
    """Say in one line what was run."""
    replicas, requests = len(run.replicas), len(run.requests)
    return (
        f"{run.app}: {requests} request{'s' * (requests != 1)} on {replicas}"
        f" replica{'s' * (replicas != 1)} x {run.threads} thread{'s' * (run.threads != 1)}"
        f" in {run.seconds:.1f} s (start-up {run.startup_seconds:.1f} s)"
    )


def replica_table(run: Run) -> list[tuple[str, ...]]:
    """Give a row of headings, then one row of texts a replica."""
    rows = [
        (
            replica.name,
            "1/1" if replica.ready else "0/1",
            replica.status,
            str(replica.restarts),
            "-" if replica.exit_code is None else str(replica.exit_code),
            f"{replica.peak_memory:.0f} MiB" if replica.peak_memory else "-",  # never looked at
        )
        for replica in run.replicas
    ]
    if not any(replica.replaced for replica in run.replicas):
        return [REPLICA_COLUMNS, *rows]
    replaced = ["REPLACED", *(str(replica.replaced) for replica in run.replicas)]
    return [(*row, cell) for row, cell in zip([REPLICA_COLUMNS, *rows], replaced, strict=True)]


def mix_ups(run: Run) -> list[str]:
    """Quote a few wrong answers, each beside who asked."""
    wrong = [record for record in run.requests if record.kind == "wrong"]
    return [
        f"asked about {_asked(record.inputs)}, was told: {cut(record.answer or '', 110)}"
        for record in wrong[:MAX_EXAMPLES]
    ]


def cut(text: str, width: int) -> str:
    """Give a text in one line of at most so many characters, cut between words if it can be."""
    line = " ".join(text.split())
    if len(line) <= width:
        return line
    words, _, rest = line[: width - 1].rpartition(" ")
    return f"{words} …" if len(rest) <= LONGEST_WORD else f"{line[: width - 1]}…"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Set rows of texts in columns."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def run_as_text(run: Run) -> str:
    """Say all of a run in a terminal's width."""
    counts = [(kind, str(run.count(kind)), run.meaning(kind)) for kind in KINDS if run.count(kind)]
    parts = [headline(run), table(counts)]
    parts += [f"  {line}" for line in mix_ups(run)]
    if run.first_error:
        parts.append(f"First error: {cut(run.first_error, 400)}")
    parts.append(table(replica_table(run)))
    parts += [f"{r.name}: {event}" for r in run.replicas for event in r.events][:12]
    return "\n".join(parts)


def comparison_as_text(comparison: Comparison) -> str:
    """Say a comparison as one table."""
    return table([comparison.columns, *comparison.rows])


def _asked(inputs: dict[str, object]) -> str:
    return ", ".join(str(value) for value in inputs.values())
