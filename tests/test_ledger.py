"""The ledger: how often the orders of a run were charged."""

from __future__ import annotations

import pytest

from crewlab import ContractBroken, Run
from crewlab.results.ledger import Ledger, audit
from crewlab.results.records import RequestRecord


class Book:
    """Payments as somebody wrote them down."""

    def __init__(self, payments: dict[str, int]) -> None:
        self.payments = payments

    def charges(self, orders: object) -> dict[str, int]:
        return self.payments


def ledger_of(payments: dict[str, int]) -> Ledger:
    records = [
        RequestRecord(number, {"order": order, "company": f"Customer-{number}"}, "ok")
        for number, order in enumerate(payments)
    ]
    return audit(Run("shop", [], records, 1, "forkserver", 0.0, 0.0), Book(payments))


def test_orders_are_counted_by_how_often_they_were_charged() -> None:
    ledger = ledger_of({"1": 0, "2": 1, "3": 2, "4": 3})
    assert [ledger.count(times) for times in ("never", "once", "twice")] == [1, 1, 2]
    assert ledger.expect(never=1, once="some", twice=2) == (
        "As expected: 1 order was never charged; at least one order was charged once;"
        " 2 orders were charged twice or more."
    )


def test_a_contract_that_does_not_hold_says_what_was_seen() -> None:
    with pytest.raises(ContractBroken) as caught:
        ledger_of({"1": 1, "2": 2}).expect(once="all")
    assert str(caught.value).splitlines()[:2] == [
        "Expected of the ledger: every order was charged once.",
        "Seen instead: 0 never, 1 once, 1 twice.",
    ]


def test_an_empty_contract_is_refused() -> None:
    with pytest.raises(ValueError, match="given nothing"):
        ledger_of({"1": 1}).expect()


def test_an_order_that_was_delivered_twice_is_one_entry_with_both_outcomes() -> None:
    inputs = {"order": "1", "company": "Aldermoor"}
    records = [RequestRecord(0, inputs, "ok"), RequestRecord(1, inputs, "lost")]
    run = Run("shop", [], records, 1, "forkserver", 0.0, 0.0)
    assert audit(run, Book({"1": 1})).rows == [("1", "Aldermoor", "ok, lost", "1")]


def test_a_long_ledger_shows_what_is_wrong_first() -> None:
    ledger = ledger_of({str(number): 2 if number == 30 else 1 for number in range(40)})
    assert ledger.rows[0][0] == "30"
    assert len(ledger.rows) == 12
    assert "Ledger of 40 orders: 39 paid once, 1 paid twice" in str(ledger)
    assert "<b>2</b>" in ledger._repr_html_()
