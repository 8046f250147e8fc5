"""Several apps whose replicas are killed at random, at several numbers of replicas."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Protocol

from crewlab.app import App
from crewlab.deployment.evictions import Eviction
from crewlab.results.html import html_table, varies
from crewlab.results.ledger import Ledger, Payments, Times, audit
from crewlab.results.records import Kind
from crewlab.results.run import ContractBroken, Run, Verdict
from crewlab.results.show import Shown
from crewlab.results.text import table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST_DELAY = 0.3  # s
REDELIVER = 20
LOOKS: dict[Times, Kind] = {"once": "ok", "twice": "wrong", "never": "lost"}
"""Each as the outcome that is as good or bad; the words say it."""


class HeldShop(Payments, Protocol):
    """What is needed of the shop."""

    def orders(self, count: int) -> list[dict[str, str]]:
        """Take new orders."""

    def hold_jobs(self, count: int) -> Callable[[], bool]:
        """Keep the next jobs in their middle; tells when they are there."""


def draw_kills(
    replicas: int, draw: random.Random, in_mid_job: Callable[[], bool]
) -> list[Eviction]:
    """Draw which replicas are told to end, when, and with how much grace.

    Args:
        replicas: how many there are.
        draw: where chance comes from; the same seed gives the same kills.
        in_mid_job: holds as soon as every replica has a job that cannot end before it is killed.

    Returns:
        Each replica once in the middle of that job, and a few at any moment of their work.
    """
    certain = [
        Eviction(replica, when=in_mid_job, delay=draw.uniform(0, LONGEST_DELAY), grace=_grace(draw))
        for replica in draw.sample(range(replicas), replicas)
    ]
    anywhere = [
        Eviction(
            draw.randrange(replicas),
            delay=draw.uniform(0, LONGEST_DELAY),
            grace=_grace(draw),
        )
        for _ in range((replicas + 3) // 4)
    ]
    return certain + anywhere


def _grace(draw: random.Random) -> float:
    return draw.choice((0.0, 0.5))


@dataclass
class KillComparison(Shown):
    """Runs of several apps under kills.

    Attributes:
        runs: for each app's name, its run at each number of replicas.
        ledgers: the payments in each of these runs.
        replicas: the numbers of replicas, in order.
    """

    runs: dict[str, dict[int, Run]]
    ledgers: dict[str, dict[int, Ledger]]
    replicas: list[int]

    @property
    def columns(self) -> tuple[str, ...]:
        """Heads of the table."""
        return ("replicas", "orders", *self.runs)

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """One row a number of replicas: kills, answers and payments of each app."""
        return [
            (
                str(number),
                str(len(next(iter(self.ledgers.values()))[number].entries)),
                *(self._cell(name, number) for name in self.runs),
            )
            for number in self.replicas
        ]

    def expect(self, *, broken: str = "broken", fixed: str = "fixed") -> Verdict:
        """State that one app charges orders twice at each number of replicas, and the other none.

        Args:
            broken: name of the app that must answer every order, and charge some of them twice.
            fixed: name of the app that must answer and charge every order once.

        Returns:
            One sentence that is the same whenever this holds.

        Raises:
            ContractBroken: it does not hold.
            KeyError: an app of that name was not compared.
        """
        wrong = []
        for number in self.replicas:
            for name in (broken, fixed):
                run, ledger = self.runs[name][number], self.ledgers[name][number]
                all_once = ledger.count("once") == len(ledger.entries)
                doubled = ledger.count("twice") > 0
                as_it_must = all_once if name == fixed else doubled
                if not as_it_must or run.ok < len(run.requests):
                    wrong.append(f"{name} at {number}: {self._cell(name, number)}")
        if wrong:
            raise ContractBroken(
                f"{'; '.join(wrong)}.\n"
                f"{broken} must answer every order and charge some twice, {fixed} each once.\n"
                "If you edited an app, run its cell as it was."
            )
        counts = ", ".join(map(str, self.replicas))
        return Verdict(
            f"As expected at {counts} replicas: {broken} charges orders twice,"
            f" {fixed} answers and charges every order exactly once."
        )

    def _cell(self, name: str, number: int) -> str:
        run, ledger = self.runs[name][number], self.ledgers[name][number]
        kills = sum(replica.replaced for replica in run.replicas)
        counts = ", ".join(
            f"{ledger.count(times)} paid {times}" for times in LOOKS if ledger.count(times)
        )
        return f"{kills} killed; {run.ok} answered, {counts}"

    def picture(self) -> Figure:
        """Draw how often the orders were charged, as stacked bars."""
        from crewlab.results.pictures import draw_stacks

        bars = {
            name: [{times: ledger.count(times) for times in LOOKS} for ledger in ledgers.values()]
            for name, ledgers in self.ledgers.items()
        }
        return draw_stacks(bars, self.replicas, LOOKS, of="orders", label="paid {}")

    def __str__(self) -> str:
        return table([self.columns, *self.rows])

    def _repr_html_(self) -> str:
        rows = [[escape(cell) for cell in row] for row in self.rows]
        return varies(html_table(self.columns, rows, "Orders under random kills"))


def kill_at_random(
    apps: Mapping[str, App],
    shop: HeldShop,
    *,
    replicas: Sequence[int] = (1, 2, 4, 8),
    seed: int = 9,
) -> KillComparison:
    """Run apps under load while their replicas are killed, each by the same kills.

    The model leaves one call a replica unanswered, so that each has a job in its middle that only
    a kill ends. What a killed replica had is delivered once more.

    Args:
        apps: each app under the name it is to be shown with.
        shop: takes the orders and knows the payments.
        replicas: the numbers of replicas.
        seed: of the kills.

    Returns:
        All runs and their payments; shown as a table and a picture.
    """
    from crewlab.deployment import scale

    runs: dict[str, dict[int, Run]] = {name: {} for name in apps}
    ledgers: dict[str, dict[int, Ledger]] = {name: {} for name in apps}
    for name, app in apps.items():
        draw = random.Random(seed)  # noqa: S311 - dice, no secret
        for number in replicas:
            in_mid_job = shop.hold_jobs(number)
            run = scale(
                app,
                replicas=number,
                threads=1,
                requests=shop.orders(number + number // 2 + 1),
                evict=draw_kills(number, draw, in_mid_job),
                redeliver=REDELIVER,
                timeout=60,
            )
            runs[name][number], ledgers[name][number] = run, audit(run, shop)
    shop.hold_jobs(0)
    return KillComparison(runs, ledgers, list(replicas))
