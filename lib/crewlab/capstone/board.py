"""The scoreboard: one row a cause, right, wrong, failed, lost, how slow, how large."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

from crewlab.capstone.stages import Stage
from crewlab.results.html import html_table, varies
from crewlab.results.run import ContractBroken, Run, Verdict
from crewlab.results.show import Shown
from crewlab.results.text import cut, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = ("cause", "right", "wrong", "failed", "lost", "p95", "memory", "score", "what was seen")
LONGEST = 90


@dataclass(frozen=True)
class Score:
    """One stage's result.

    Attributes:
        stage: the stage.
        run: its run; None where this system cannot play it.
        not_right: what the evidence says against answers that look right, by request.
        complaint: what is wrong with the run as a whole.
    """

    stage: Stage
    run: Run | None
    not_right: Mapping[int, str] = field(default_factory=dict)
    complaint: str | None = None

    @property
    def requests(self) -> int:
        """How many requests there were."""
        return len(self.run.requests) if self.run else 0

    @property
    def right(self) -> int:
        """Requests answered right, by all evidence."""
        return self.run.ok - len(self.not_right) if self.run else 0

    @property
    def wrong(self) -> int:
        """Requests answered otherwise."""
        return self.run.wrong + len(self.not_right) if self.run else 0

    @property
    def failed(self) -> int:
        """Requests that ended in an error, or in no answer at all."""
        return self.run.error + self.run.timeout if self.run else 0

    @property
    def lost(self) -> int:
        """Requests that ended with their replica."""
        return self.run.lost if self.run else 0

    @property
    def holds(self) -> bool:
        """Whether every request is right and nothing else is wrong: only that scores."""
        return bool(self.requests) and self.right == self.requests and self.complaint is None

    @property
    def p95(self) -> float:
        """Seconds within which 95 of 100 requests had their outcome."""
        times = sorted(record.finished for record in self.run.requests) if self.run else []
        return times[math.ceil(0.95 * len(times)) - 1] if times else 0.0

    @property
    def memory(self) -> float:
        """The largest memory of a replica, MiB."""
        replicas = self.run.replicas if self.run else []
        return max((replica.peak_memory for replica in replicas), default=0.0)

    @property
    def seen(self) -> str:
        """The first thing that went wrong, in a few words."""
        if self.run is None:
            return "skipped: this system has no fork"
        if self.holds:
            return ""
        if self.complaint:
            return self.complaint
        if any(replica.status == "OOMKilled" for replica in self.run.replicas):
            return "a replica was OOMKilled"
        if self.run.first_error:
            return self.run.first_error
        if self.not_right:
            return next(iter(self.not_right.values()))
        if self.run.wrong:
            return "an answer does not name its customer and order, or names others"
        return next(record.error or "" for record in self.run.requests if record.kind != "ok")


@dataclass(frozen=True)
class Scoreboard(Shown):
    """The scores of some stages.

    Attributes:
        app: the app's name.
        scores: one a stage.
    """

    app: str
    scores: tuple[Score, ...]

    @property
    def played(self) -> tuple[Score, ...]:
        """The scores of the stages that this system can play."""
        return tuple(score for score in self.scores if score.run is not None)

    @property
    def score(self) -> int:
        """From 0 to 100: the share of the stages that hold."""
        played = self.played
        return round(100 * sum(s.holds for s in played) / len(played)) if played else 0

    @property
    def held(self) -> tuple[str, ...]:
        """The numbers of the stages that hold."""
        return tuple(score.stage.number for score in self.played if score.holds)

    @property
    def first_failing(self) -> Score | None:
        """The first stage that does not hold."""
        return next((score for score in self.played if not score.holds), None)

    @property
    def verdict(self) -> Verdict:
        """Say in one line which stages hold; the same whenever the same ones do."""
        missing = [score.stage.number for score in self.played if not score.holds]
        return Verdict(
            f"Score {self.score} of 100. Holds: {', '.join(self.held) or 'none'}."
            f" Falls over: {', '.join(missing) or 'none'}."
        )

    def expect(self, *, score: int) -> Verdict:
        """State what the score must be.

        Args:
            score: from 0 to 100.

        Returns:
            The verdict.

        Raises:
            ContractBroken: it is another one; says what was seen.
        """
        if self.score != score:
            seen = "; ".join(f"{s.stage.number}: {s.seen}" for s in self.played if not s.holds)
            raise ContractBroken(f"Expected a score of {score}.\n{self.verdict}\n{seen}")
        return self.verdict

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """One row a stage, and one for all of them."""
        rows = [
            (
                f"{score.stage.number} {score.stage.cause}",
                *map(str, (score.right, score.wrong, score.failed, score.lost)),
                f"{score.p95:.1f} s",
                f"{score.memory:.0f} MiB",
                "-" if score.run is None else "✓ 100" if score.holds else "✗ 0",
                cut(score.seen, LONGEST),
            )
            for score in self.scores
        ]
        totals = (
            str(sum(getattr(score, name) for score in self.scores))
            for name in ("right", "wrong", "failed", "lost")
        )
        slowest = max((score.p95 for score in self.scores), default=0.0)
        largest = max((score.memory for score in self.scores), default=0.0)
        last = ("all", *totals, f"{slowest:.1f} s", f"{largest:.0f} MiB", str(self.score), "")
        return [*rows, last]

    def picture(self) -> Figure:
        """Draw the requests of each stage by outcome, and mark the stages that hold."""
        from crewlab.capstone.picture import draw_scoreboard

        return draw_scoreboard(self)

    def __str__(self) -> str:
        return f"Scoreboard of {self.app}\n{table([COLUMNS, *self.rows])}"

    def _repr_html_(self) -> str:
        rows = [[escape(cell) for cell in row] for row in self.rows]
        for row in rows:
            row[5:8] = [cell.replace(" ", "&nbsp;") for cell in row[5:8]]
        return varies(html_table(COLUMNS, rows, f"Scoreboard of {self.app}: requests by outcome"))
