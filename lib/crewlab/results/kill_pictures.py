"""The picture of payments under kills."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from crewlab.results.ledger import Times
from crewlab.results.pictures import WIDTH, _look, _set_margins
from crewlab.results.style import SYMBOLS

if TYPE_CHECKING:
    from crewlab.results.kills import KillComparison

LOOKS: dict[Times, str] = {"once": "ok", "twice": "wrong", "never": "lost"}
"""Each as the outcome that is as good or bad; the words say it."""


def draw_payments(comparison: KillComparison) -> Figure:
    """Draw how often the orders were charged, for each app at each number of replicas.

    Args:
        comparison: the runs and their payments.

    Returns:
        A figure whose content is also in the comparison's table.
    """
    names = list(comparison.ledgers)
    figure = Figure(figsize=(WIDTH, 2.8))
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    _set_margins(figure, left=0.6, top=0.65)
    total: dict[Times, int] = dict.fromkeys(LOOKS, 0)
    for panel, name in zip(panels, names, strict=True):
        for position, ledger in enumerate(comparison.ledgers[name].values()):
            bottom = 0
            for times, look in LOOKS.items():
                number = ledger.count(times)
                total[times] += number
                if number:
                    panel.bar(position, number, bottom=bottom, width=0.7, **_look(look))
                    bottom += number
        panel.set_xticks(range(len(comparison.replicas)), labels=map(str, comparison.replicas))
        panel.set_title(name)
        panel.set_xlabel("replicas")
    panels[0].set_ylabel("orders")
    handles = [
        Patch(label=f"{SYMBOLS[LOOKS[times]]} paid {times}: {number}", **_look(LOOKS[times]))
        for times, number in total.items()
        if number
    ]
    figure.legend(handles=handles, loc="upper left", ncols=3, fontsize=9, frameon=False)
    return figure
