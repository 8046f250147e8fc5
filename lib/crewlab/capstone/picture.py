"""The picture of a scoreboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from crewlab.results.pictures import WIDTH
from crewlab.results.style import COLOURS, HATCHES, SYMBOLS

if TYPE_CHECKING:
    from crewlab.capstone.board import Scoreboard

PARTS = {"right": "ok", "wrong": "wrong", "failed": "error", "lost": "lost"}


def draw_scoreboard(board: Scoreboard) -> Figure:
    """Draw one bar a stage, its requests by outcome, as the table above says.

    Args:
        board: the scores.

    Returns:
        A figure: each part of a bar has its outcome's colour, hatch and symbol.
    """
    figure = Figure(figsize=(WIDTH, 1.1 + 0.32 * len(board.scores)))
    axes = figure.subplots()
    names = [f"{score.stage.number} {score.stage.cause}" for score in board.scores]
    rows = range(len(names))
    left = [0] * len(names)
    for part, kind in PARTS.items():
        counts = [getattr(score, part) for score in board.scores]
        axes.barh(
            rows,
            counts,
            left=left,
            height=0.7,
            color=COLOURS[kind],
            hatch=HATCHES[kind],
            edgecolor="white",
            label=f"{SYMBOLS[kind]} {part}",
        )
        left = [start + count for start, count in zip(left, counts, strict=True)]
    for row, score in zip(rows, board.scores, strict=True):
        mark = "skipped" if score.run is None else "✓ holds" if score.holds else "✗ falls over"
        axes.text(left[row] + 0.15, row, mark, va="center", fontsize=9)
    axes.set_yticks(list(rows), names)
    axes.invert_yaxis()
    axes.set_xlim(0, max(left, default=1) + 3)
    axes.set_xlabel("requests")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="upper center", ncols=len(PARTS), fontsize=8, frameon=False)
    figure.subplots_adjust(
        left=0.26,
        right=0.99,
        bottom=0.45 / figure.get_figheight(),
        top=1 - 0.35 / figure.get_figheight(),
    )
    return figure
