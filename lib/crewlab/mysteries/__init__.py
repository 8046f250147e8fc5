"""Deployments that nobody has seen before: symptoms, tools to look with, and what is the cause."""

from __future__ import annotations

from functools import cache

from crewlab.errors import ToldValueError
from crewlab.mysteries.cases import CASES
from crewlab.mysteries.mystery import Mystery

__all__ = ["NUMBERS", "Mystery", "mystery"]

NUMBERS: tuple[int, ...] = tuple(CASES)
"""The mysteries there are; teachers hand out different ones."""


@cache
def mystery(number: int) -> Mystery:
    """Open a mystery.

    Args:
        number: which one.

    Returns:
        The same object each time, so that it knows what evidence has been gathered.

    Raises:
        ValueError: there is no such mystery.
    """
    if isinstance(number, bool) or number not in CASES:
        raise ToldValueError(
            f"There is no mystery {number!r}.\nThey are numbered from {NUMBERS[0]} to"
            f" {NUMBERS[-1]}.\nFor example mystery({NUMBERS[3]})."
        )
    return Mystery.open(number)
