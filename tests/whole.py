"""Two sizes of one test run: what a developer waits for, and the whole, which CI runs."""

from __future__ import annotations

import os
from collections.abc import Iterable

import pytest

WHOLE = os.environ.get("CREWLAB_TEST") == "whole"
whole = pytest.mark.whole


def some(values: Iterable[object], *always: object) -> list[object]:
    """Give all values as parameters of a test; those that are not named only in the whole run."""
    values = list(values)
    assert not set(always) - set(values), "a value to try always is none of the values"
    return [value if value in always else _only_in_the_whole_run(value) for value in values]


def _only_in_the_whole_run(value: object) -> object:
    several = value if isinstance(value, tuple) else (value,)
    return pytest.param(*several, marks=whole)


def sizes(*replicas: int) -> list[object]:
    """Give the numbers of replicas to try a contract at: 4 always, the others in the whole run."""
    return some(replicas, 4)
