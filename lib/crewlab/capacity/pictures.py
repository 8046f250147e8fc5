"""The pictures of the capacity model: predicted against measured, and carried on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from crewlab.capacity.model import (
    MIB_A_GIB,
    Deployment,
    Measured,
    answer,
    cost_of,
    memory,
    ready_after,
    replica_rate,
)
from crewlab.results.pictures import WIDTH
from crewlab.results.style import COLOURS

if TYPE_CHECKING:
    from crewlab.capacity.verifying import Pair

HEIGHT = 2.6
POINTS = 100
MODEL: dict[str, Any] = {"color": COLOURS["ok"], "linewidth": 1.5}
LIMIT: dict[str, Any] = {"color": COLOURS["error"], "linewidth": 1.5, "linestyle": "--"}
MARK: dict[str, Any] = {"color": COLOURS["lost"], "linestyle": "", "marker": "o", "markersize": 5}


def draw_verification(pairs: Sequence[Pair]) -> Figure:
    """Draw a panel a quantity: the prediction as a line, the measurements as marks.

    Args:
        pairs: what was predicted and measured.

    Returns:
        The figure. The table above it says the same.
    """
    quantities = list(dict.fromkeys(pair.what for pair in pairs))
    figure, panels = _panels(len(quantities))
    for panel, what in zip(panels, quantities, strict=True):
        of = sorted((pair for pair in pairs if pair.what == what), key=lambda pair: pair.replicas)
        numbers = [pair.replicas for pair in of]
        panel.plot(numbers, [pair.predicted for pair in of], label="predicted", **MODEL)
        panel.plot(numbers, [pair.measured for pair in of], label="measured", **MARK)
        _finish(panel, what)
    panels[0].legend(fontsize=8, loc="upper left")
    return figure


def draw_deployment(measured: Measured, wanted: Deployment) -> Figure:
    """Draw memory, start-up and requests a second over the number of replicas.

    Args:
        measured: what one replica and one request cost.
        wanted: what is to be deployed.

    Returns:
        The figure: the model as a line, the limit as a dashed line. The table above it says at
        which number of replicas they meet.
    """
    found = answer(measured, wanted)
    replica = cost_of(measured, preloaded=wanted.preloaded)
    figure, (in_memory, start, rate) = _panels(3)

    a_host = max(2, math.ceil(1.25 * min(wanted.replicas, max(found.fits_memory, 1))))
    numbers = _numbers(a_host)
    in_memory.plot(numbers, [memory(replica, n) / MIB_A_GIB for n in numbers], **MODEL)
    in_memory.axhline(wanted.memory, label=f"a host: {wanted.memory:g} GiB", **LIMIT)
    _finish(in_memory, "memory, GiB", "replicas on one host")

    at_once = max(2, math.ceil(1.25 * min(wanted.replicas, max(found.fits_probe, 1))))
    numbers = _numbers(at_once)
    seconds = [ready_after(measured, n, wanted.cores, preloaded=wanted.preloaded) for n in numbers]
    start.plot(numbers, seconds, **MODEL)
    start.axhline(wanted.probe, label=f"start-up probe: {wanted.probe:g} s", **LIMIT)
    _finish(start, "all ready after, s", "replicas that start at once on one host")

    one = replica_rate(measured.request, wanted.threads, wanted.call_seconds)
    meets = wanted.replicas if math.isinf(found.allowed) else 2 * found.allowed / one
    numbers = _numbers(max(2, math.ceil(min(wanted.replicas, meets))))
    rate.plot(numbers, [n * one for n in numbers], **MODEL)
    if not math.isinf(found.allowed):
        rate.axhline(found.allowed, label="quota", **LIMIT)
    _finish(rate, "requests a second", "replicas in all")
    for panel in (in_memory, start, rate):
        if panel.get_legend_handles_labels()[0]:
            panel.legend(fontsize=8, loc="upper left")
            panel.set_ylim(0, panel.get_ylim()[1] * 1.15)  # room for the legend
    return figure


def _numbers(most: int) -> list[int]:
    return sorted({1, most, *range(1, most, max(1, most // POINTS))})


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(WIDTH, HEIGHT))
    panels = figure.subplots(1, count, squeeze=False)[0]
    figure.subplots_adjust(left=0.06, right=0.99, bottom=0.2, top=0.88, wspace=0.28)
    return figure, list(panels)


def _finish(panel: Axes, title: str, below: str = "replicas") -> None:
    panel.set_title(title, fontsize=10)
    panel.set_xlabel(below, fontsize=9)
    panel.tick_params(labelsize=8)
    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    panel.set_ylim(0, panel.get_ylim()[1] * 1.08)
