"""Judging whether an answer is about the customer who asked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any


def _texts(inputs: dict[str, Any]) -> set[str]:
    return {value for value in inputs.values() if isinstance(value, str) and value.strip()}


def _mentions(answer: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(text)}(?!\w)", answer) is not None


class NameJudge:
    """Tells whose name an answer carries.

    A text that only one request of a run has in its inputs identifies that request. An answer is
    right if it carries one of its own and none of another request's. Where a request has no such
    text (every customer asked the same), any answer counts as right.
    """

    def __init__(self, requests: Sequence[dict[str, Any]]) -> None:
        seen = Counter(text for inputs in requests for text in _texts(inputs))
        self._own = [{text for text in _texts(inputs) if seen[text] == 1} for inputs in requests]
        self._all = frozenset(text for own in self._own for text in own)

    def is_right(self, number: int, answer: str) -> bool:
        """Judge the answer to one request.

        Args:
            number: the request's position in the run, from 0.
            answer: what the app returned.

        Returns:
            False if the answer carries another request's name or lacks its own.
        """
        own = self._own[number]
        if not own:
            return True
        if any(_mentions(answer, text) for text in self._all - own):
            return False
        return any(_mentions(answer, text) for text in own)
