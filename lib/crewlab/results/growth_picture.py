"""The picture of what replicas held: memory, open files and threads over requests answered."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from crewlab.results.growth import MEASURES, Life

if TYPE_CHECKING:
    from crewlab.results.growth import Growth

# Of the palette of Okabe and Ito; each has a dash and a marker of its own as well.
LOOKS: tuple[dict[str, Any], ...] = (
    {"color": "#D55E00", "linestyle": "-", "marker": "o"},
    {"color": "#0072B2", "linestyle": "--", "marker": "s"},
    {"color": "#009E73", "linestyle": ":", "marker": "^"},
    {"color": "#000000", "linestyle": "-.", "marker": "D"},
)
MARKS = 8
"""Markers a line bears, about."""


def draw_growth(growth: Growth) -> Figure:
    """Draw a panel a measure; a line a replica, broken where a fresh process takes over.

    Args:
        growth: what was measured. Its table says the same as the picture.

    Returns:
        The figure. Replicas of one run look alike where there are several runs.
    """
    measures = growth.measures
    figure = Figure(figsize=(9.0, 3.0))
    panels = figure.subplots(1, max(len(measures), 1), squeeze=False)[0]
    figure.subplots_adjust(left=0.055, right=0.99, bottom=0.18, top=0.8, wspace=0.2)
    looks = _looks(growth)
    for panel, measure in zip(panels, measures, strict=False):
        for life in growth.lives:
            look = looks[_key(growth, life)]
            for points in life.starts:
                last = {point.answered: point.value(measure) for point in points}
                x, y = [points[0].answered, *last], [points[0].value(measure), *last.values()]
                panel.plot(
                    x, y, markevery=max(1, len(x) // MARKS), markersize=4, linewidth=1.5, **look
                )
        panel.set_title(MEASURES[measure], fontsize=10)
        panel.set_xlabel("requests this replica has answered", fontsize=9)
        panel.tick_params(labelsize=9)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.yaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
        if measure == "memory":
            _draw_limit(growth, panel)
        panel.set_ylim(0, panel.get_ylim()[1] * 1.08)
    handles = [Line2D([], [], label=name, markersize=4, **look) for name, look in looks.items()]
    figure.legend(handles=handles, loc="upper left", ncols=4, fontsize=9, frameon=False)
    return figure


def _looks(growth: Growth) -> dict[str, dict[str, Any]]:
    names = dict.fromkeys(_key(growth, life) for life in growth.lives)
    return dict(zip(names, cycle(LOOKS), strict=False))


def _key(growth: Growth, life: Life) -> str:
    return life.run if len(growth.runs) > 1 else life.replica


def _draw_limit(growth: Growth, panel: Axes) -> None:
    for limit in {run.memory_limit for run in growth.runs.values() if run.memory_limit}:
        panel.axhline(limit, color="#555555", linewidth=1, linestyle=(0, (1, 1)))
        panel.annotate(
            "limit",
            (0.98, limit),
            xycoords=("axes fraction", "data"),
            xytext=(0, 2),
            textcoords="offset points",
            fontsize=8,
            ha="right",
        )
