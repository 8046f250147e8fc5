"""The picture of requests in flight against a quota."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from crewlab.results.pictures import WIDTH
from crewlab.results.style import COLOURS

if TYPE_CHECKING:
    from crewlab.results.demand import Demand

BIN = 0.05
"""Seconds: refusals this close together are stacked."""
REFUSED = 429


def draw_demands(demands: Sequence[Demand]) -> Figure:
    """Draw one panel a run, all on the same scales.

    Args:
        demands: runs against a model with a quota.

    Returns:
        A figure: an area for the requests in flight, a dashed line for the quota, a cross for
        each refusal, stacked above the line.
    """
    figure = Figure(figsize=(WIDTH, 2.6))
    panels = figure.subplots(1, len(demands), sharex=True, sharey=True, squeeze=False)[0]
    for axes, demand in zip(panels, demands, strict=True):
        _draw(axes, demand)
    panels[0].set_ylabel("requests")
    panels[0].yaxis.get_major_locator().set_params(integer=True)  # nobody sends 7.5 of them
    quota = max((demand.quota for demand in demands), default=1)
    panels[0].set_ylim(0, max(panels[0].get_ylim()[1], 1.6 * quota))  # room for the legend
    panels[0].set_xlim(0)
    panels[0].legend(loc="upper right", fontsize=8)
    figure.subplots_adjust(left=0.07, right=0.99, bottom=0.2, top=0.88, wspace=0.06)
    return figure


def _draw(axes: Axes, demand: Demand) -> None:
    start = min((call.started for call in demand.calls), default=0.0)
    let_in = [call for call in demand.calls if call.status != REFUSED]
    edges = sorted(
        edge for call in let_in for edge in ((call.started - start, 1), (call.finished - start, -1))
    )
    times, levels, level = [0.0], [0], 0
    for when, step in edges:
        level += step
        times.append(when)
        # The journal notes when a request came, which is an instant before it is let in.
        levels.append(min(level, demand.quota))
    axes.fill_between(times, levels, step="post", color=COLOURS["ok"], alpha=0.35, linewidth=0)
    axes.step(times, levels, where="post", color=COLOURS["ok"], label="in flight")
    axes.axhline(demand.quota, color="black", linestyle="--", label=f"quota: {demand.quota}")
    piled: Counter[int] = Counter()
    crosses = []
    for call in demand.calls:
        if call.status == REFUSED:
            bin_ = int((call.started - start) / BIN)
            piled[bin_] += 1
            crosses.append(((bin_ + 0.5) * BIN, demand.quota + piled[bin_]))
    if crosses:
        x, y = zip(*crosses, strict=True)
        axes.plot(x, y, "x", color=COLOURS["error"], markersize=4, label="refused (429)")
    replicas = len(demand.run.replicas)
    axes.set_title(f"{demand.run.app}, {replicas} replica{'s' * (replicas != 1)}", fontsize=10)
    axes.set_xlabel("seconds since the first request")
