"""What the customers of a mystery ask for, and what a right answer is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from crewlab.companies import default_requests

if TYPE_CHECKING:
    from crewlab.deployment.plan import Judge
    from crewlab.services.shop import Shop

Requests = list[dict[str, str]]


def requests_of(asks: str, customers: int, shop: Shop) -> tuple[Requests, Requests, Judge | None]:
    """Make the requests of a run.

    Args:
        asks: "reports", "notes" or "orders".
        customers: how many different ones.
        shop: takes the orders.

    Returns:
        The requests, those that follow when all of them are finished, and what judges the answers
        (None: the names in them).
    """
    if asks == "orders":
        orders = shop.orders(customers)
        return orders, [], _Letters(customers)
    if asks == "notes":
        notes = {name: f"U{number}" for number, name in enumerate(_names(customers), 101)}
        first = [{"step": "note", "company": name, "note": note} for name, note in notes.items()]
        then = [{"step": "letter", "company": name} for name in reversed(notes)]
        return first, then, _Notes(notes)
    return default_requests(customers), [], None


def _names(customers: int) -> list[str]:
    return [inputs["company"] for inputs in default_requests(customers)]


class _Letters:
    """Tells whether a letter names its customer and nobody else's name."""

    def __init__(self, customers: int) -> None:
        self._names = _names(customers)

    def __call__(self, inputs: Mapping[str, Any], answer: str) -> bool:
        return {name for name in self._names if name in answer} == {inputs["company"]}


class _Notes:
    """Tells whether a letter carries what was noted about its customer, and nothing of others."""

    def __init__(self, notes: Mapping[str, str]) -> None:
        self._notes = notes

    def __call__(self, inputs: Mapping[str, Any], answer: str) -> bool:
        own = {inputs["company"], self._notes[inputs["company"]]}
        every = {*self._notes, *self._notes.values()}
        return {text for text in every if text in answer} == own
