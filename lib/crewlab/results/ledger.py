"""How often each customer of a run has paid, which no outcome of a request tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Literal, Protocol

from crewlab.errors import ToldValueError
from crewlab.results.html import html_table, varies
from crewlab.results.run import Amount, ContractBroken, Run, Verdict, amount_holds
from crewlab.results.show import Shown
from crewlab.results.text import table

if TYPE_CHECKING:
    from crewlab.results.records import Kind

Times = Literal["never", "once", "twice"]
TIMES: tuple[Times, ...] = ("never", "once", "twice")
MOST_ROWS = 12
COLUMNS = ("order", "customer", "answer", "payments")


class Payments(Protocol):
    """Who knows the payments: the shop."""

    def charges(self, orders: Sequence[Mapping[str, str]]) -> dict[str, int]:
        """Count the payments of each order."""


@dataclass(frozen=True)
class Entry:
    """One order.

    Attributes:
        order: its number.
        customer: whose it is.
        outcomes: how each delivery of it ended.
        payments: how often it was charged.
    """

    order: str
    customer: str
    outcomes: tuple[Kind, ...]
    payments: int

    @property
    def times(self) -> Times:
        """The number of payments as a word; more than two are "twice" as well."""
        return TIMES[min(self.payments, 2)]


@dataclass(frozen=True)
class Ledger(Shown):
    """The payments of a run's orders.

    Attributes:
        entries: one an order, in the order of the requests.
    """

    entries: tuple[Entry, ...]

    def count(self, times: Times) -> int:
        """Count the orders that were charged never, once, or twice and more."""
        return sum(entry.times == times for entry in self.entries)

    def expect(
        self,
        *,
        never: Amount | None = None,
        once: Amount | None = None,
        twice: Amount | None = None,
    ) -> Verdict:
        """State what must be seen in the ledger.

        Args:
            never: how many orders were not charged: a number, "some", "none" or "all".
            once: the same for orders that were charged once.
            twice: the same for orders that were charged twice or more often.

        Returns:
            One sentence that is the same whenever the expectation holds.

        Raises:
            ContractBroken: something else was seen; says what.
        """
        amounts = {"never": never, "once": once, "twice": twice}
        said: list[str] = []
        missed: list[str] = []
        for times in TIMES:
            if (amount := amounts[times]) is not None:
                holds = amount_holds(amount, self.count(times), len(self.entries))
                (said if holds else missed).append(_sentence(times, amount))
        if not said and not missed:
            raise ToldValueError("expect() was given nothing: name never, once or twice.")
        if missed:
            seen = ", ".join(f"{self.count(times)} {times}" for times in TIMES)
            raise ContractBroken(
                f"Expected of the ledger: {'; '.join(missed)}.\n"
                f"Seen instead: {seen}.\n"
                "If you edited the app, run its cell as it was; if a package was upgraded,"
                " this chapter no longer tells the truth."
            )
        return Verdict("As expected: " + "; ".join(said) + ".")

    @property
    def headline(self) -> str:
        """Say it in one line."""
        number = len(self.entries)
        counts = [f"{self.count(times)} paid {times}" for times in TIMES if self.count(times)]
        return f"Ledger of {number} order{'s' * (number != 1)}: {', '.join(counts)}"

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """One row an order, those with a wrong number of payments first if they are many."""
        entries: Sequence[Entry] = self.entries
        if len(entries) > MOST_ROWS:
            entries = sorted(entries, key=lambda entry: entry.times == "once")[:MOST_ROWS]
        return [
            (entry.order, entry.customer, ", ".join(entry.outcomes), str(entry.payments))
            for entry in entries
        ]

    def __str__(self) -> str:
        return f"{self.headline}\n{table([COLUMNS, *self.rows])}"

    def _repr_html_(self) -> str:
        rows = [[escape(cell) for cell in row] for row in self.rows]
        for row in rows:
            if row[-1] != "1":
                row[-1] = f"<b>{row[-1]}</b>"
        return varies(html_table(COLUMNS, rows, self.headline))


def audit(run: Run, payments: Payments) -> Ledger:
    """Hold a run against the payments.

    Args:
        run: a run whose requests have an ``order`` and a ``company``.
        payments: the shop.

    Returns:
        The payments of each of its orders, as they are now.
    """
    charges = payments.charges([record.inputs for record in run.requests])
    outcomes: dict[str, list[Kind]] = {order: [] for order in charges}
    customers: dict[str, str] = {}
    for record in run.requests:
        order = record.inputs["order"]
        outcomes[order].append(record.kind)
        customers[order] = record.inputs["company"]
    return Ledger(
        tuple(
            Entry(order, customers[order], tuple(outcomes[order]), number)
            for order, number in charges.items()
        )
    )


def _sentence(times: Times, amount: Amount) -> str:
    who = {"some": "at least one order", "none": "no order", "all": "every order"}
    what = {"never": "never charged", "once": "charged once", "twice": "charged twice or more"}
    subject = who.get(str(amount), f"{amount} order{'s' * (amount != 1)}")
    return f"{subject} {'was' if subject in who.values() or amount == 1 else 'were'} {what[times]}"
