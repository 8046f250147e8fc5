"""The capstone: one service, a stage for each cause, and a scoreboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crewlab.app import App
from crewlab.capstone.stages import STAGES, Stage, stage

if TYPE_CHECKING:
    from crewlab.capstone.board import Score, Scoreboard

SEED = 12

__all__ = ["SEED", "STAGES", "Stage", "play", "scoreboard", "stage"]

_played: dict[tuple[str, str, int], Score] = {}


def play(app: App, *numbers: str, seed: int = SEED) -> Scoreboard:
    """Play some stages with an app, each with its own deployment, load and faults.

    Args:
        app: the service, as a ``%%app`` cell bound it.
        numbers: the stages, such as "01"; all of them if none is named.
        seed: where the customers, their items and the faults are drawn from.

    Returns:
        The scoreboard of these stages.

    Raises:
        ValueError: there is no such stage, or no local model that could be made to fail.
        TypeError: it is no app.
    """
    from crewlab.capstone.board import Scoreboard
    from crewlab.capstone.playing import play_stage
    from crewlab.deployment.plan import as_app

    app = as_app(app)
    scores = []
    for number in numbers or STAGES:
        score = play_stage(app, stage(number), seed)
        _played[app.source, score.stage.number, seed] = score
        scores.append(score)
    return Scoreboard(app.name, tuple(scores))


def scoreboard(app: App, *, seed: int = SEED) -> Scoreboard:
    """Give the scoreboard of all stages.

    A stage that was played with this very text of the app is not played again.

    Args:
        app: the service, as a ``%%app`` cell bound it.
        seed: as for `play`.

    Returns:
        All stages' scores.

    Raises:
        ValueError: as for `play`.
        TypeError: it is no app.
    """
    from crewlab.capstone.board import Scoreboard
    from crewlab.deployment.plan import as_app

    app = as_app(app)
    for number in STAGES:
        if (app.source, number, seed) not in _played:
            play(app, number, seed=seed)
    return Scoreboard(app.name, tuple(_played[app.source, number, seed] for number in STAGES))


def forget() -> None:
    """Forget what was played."""
    _played.clear()
