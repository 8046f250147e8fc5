"""Pictures of runs, drawn with matplotlib outside of pyplot, so that no backend is touched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from crewlab.results.records import KINDS, Kind, RequestRecord
from crewlab.results.style import COLOURS, HATCHES, SYMBOLS

if TYPE_CHECKING:
    from crewlab.results.compare import Comparison
    from crewlab.results.run import Run

Counted = TypeVar("Counted", bound=str)

WIDTH = 9.0
"""Inches."""
CHARACTER = 0.095
"""Inches a letter of an axis label takes at most, about."""
MOST_LANES_WITH_SYMBOLS = 40
NOTHING_BEGUN = "No request was begun."


def draw_run(run: Run) -> Figure:
    """Draw one lane a thread, one bar a request, from when it was taken to its outcome.

    Args:
        run: the run.

    Returns:
        A figure whose content is also in the run's table.
    """
    lanes = _lanes(run)
    height = min(max(1.6, 0.9 + 0.17 * len(lanes)), 8.0)
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.add_subplot()
    longest = max(len(replica.name) for replica in run.replicas)
    _set_margins(figure, left=0.25 + CHARACTER * longest, top=0.35)
    begun = [record for record in run.requests if record.started is not None]
    # Where no request was begun, all are lost at once: an axis of some microseconds.
    end = (max((record.finished for record in run.requests), default=0.0) or 1.0) if begun else 1.0
    for record in run.requests:
        lane = lanes.get((record.replica, record.thread))
        if lane is not None and record.started is not None:
            width = max(record.finished - record.started, end / 200)
            axes.barh(lane, width, left=record.started, height=0.8, **_look(record.kind))
            if len(lanes) <= MOST_LANES_WITH_SYMBOLS:
                _label(axes, record, lane, record.started, width, end)
    if not begun:
        axes.text(end / 2, len(lanes) / 2 - 0.5, NOTHING_BEGUN, ha="center", va="center")
    names = [replica.name for replica in run.replicas]
    axes.set_yticks(
        [(index + 0.5) * run.threads - 0.5 for index in range(len(names))], labels=names
    )
    for index in range(1, len(names)):
        axes.axhline(index * run.threads - 0.5, color="#bbbbbb", linewidth=0.8)
    axes.set_ylim(len(lanes) - 0.5, -0.5)
    axes.set_xlim(0, end * 1.02)
    axes.set_xlabel("seconds since all requests were released; one lane a thread")
    _legend(figure, [(kind, kind, number) for kind, number in run.counts.items()])
    return figure


def draw_comparison(comparison: Comparison) -> Figure:
    """Draw the outcomes of each app at each number of replicas as stacked bars."""
    bars = {name: [run.counts for run in runs.values()] for name, runs in comparison.runs.items()}
    return draw_stacks(bars, comparison.replicas, {kind: kind for kind in KINDS}, of="requests")


def draw_stacks(
    bars: Mapping[str, Sequence[Mapping[Counted, int]]],
    replicas: Sequence[int],
    looks: Mapping[Counted, Kind],
    *,
    of: str,
    label: str = "{}",
) -> Figure:
    """Draw one panel an app, in it one bar for each number of replicas, stacked by what is counted.

    Args:
        bars: for each app's name, what each of its bars counts.
        replicas: the numbers of replicas, one a bar.
        looks: what is counted, from the bottom of a bar up, each with the outcome that it looks
            like.
        of: what a bar is made of, for its axis.
        label: what the legend says of what is counted, with ``{}`` in its place.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(WIDTH, 2.8))
    panels = figure.subplots(1, len(bars), sharey=True, squeeze=False)[0]
    _set_margins(figure, left=0.6, top=0.65)
    for panel, (name, counts) in zip(panels, bars.items(), strict=True):
        for position, numbers in enumerate(counts):
            bottom = 0
            for counted, kind in looks.items():
                if number := numbers[counted]:
                    panel.bar(position, number, bottom=bottom, width=0.7, **_look(kind))
                    bottom += number
        panel.set_xticks(range(len(replicas)), labels=map(str, replicas))
        panel.set_title(name)
        panel.set_xlabel("replicas")
    panels[0].set_ylabel(of)
    _legend(
        figure,
        [
            (kind, label.format(counted), sum(n[counted] for each in bars.values() for n in each))
            for counted, kind in looks.items()
        ],
    )
    return figure


def _set_margins(figure: Figure, left: float, top: float) -> None:
    """Leave room around the axes, in inches; a layout engine would draw everything twice."""
    width, height = figure.get_size_inches()
    figure.subplots_adjust(
        left=left / width,
        right=1 - 0.1 / width,
        bottom=0.55 / height,
        top=1 - top / height,
        wspace=0.06,
    )


def _lanes(run: Run) -> dict[tuple[str | None, int | None], int]:
    places = ((replica.name, thread) for replica in run.replicas for thread in range(run.threads))
    return {place: lane for lane, place in enumerate(places)}


def _look(kind: str) -> dict[str, Any]:
    edge = "white" if kind in ("lost", "ok") else "black"
    return {"facecolor": COLOURS[kind], "hatch": HATCHES[kind], "edgecolor": edge, "linewidth": 0.6}


def _label(
    axes: Axes, record: RequestRecord, lane: int, start: float, width: float, end: float
) -> None:
    values = [str(value) for value in record.inputs.values()]
    name = " ".join(values)
    if len(name) > 16:  # whom it is about, rather than a piece of all that was sent
        name = str(record.inputs.get("company", name))[:16]
    text = f"{SYMBOLS[record.kind]} {name}" if width > end * 0.2 else SYMBOLS[record.kind]
    axes.text(
        max(start + width / 2, end * 0.012),  # clear of the axis, which a short first bar touches
        lane,
        text,
        ha="center",
        va="center",
        fontsize=7,
        bbox={"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none"},
    )


def _legend(figure: Figure, entries: Iterable[tuple[Kind, str, int]]) -> None:
    """Explain what is there: each entry is an outcome's look, a label and how many there are."""
    handles = [
        Patch(label=f"{SYMBOLS[kind]} {label}: {number}", **_look(kind))
        for kind, label, number in entries
        if number
    ]
    figure.legend(handles=handles, loc="upper left", ncols=5, fontsize=9, frameon=False)
