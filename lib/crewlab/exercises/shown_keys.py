"""Whether anything that can be read of a run shows a key."""

from __future__ import annotations

from collections.abc import Iterable

from crewlab.results.records import ReplicaRecord, RequestRecord
from crewlab.results.run import Run

PREFIX = "local-"
"""What made-up keys begin with: no secret by itself."""
SHOWN = 6
"""So many characters of a secret in a row are no coincidence."""


def shows_any(run: Run, secrets: Iterable[str]) -> bool:
    """Tell whether an error, a traceback, a log or an answer shows a piece of a key.

    Args:
        run: the run.
        secrets: the keys; of each, what comes after as many characters as PREFIX has.
    """
    pieces = {
        secret[start : start + SHOWN]
        for secret in secrets
        for start in range(len(PREFIX), len(secret) - SHOWN + 1)
    }
    return any(piece in text for text in _texts(run) for piece in pieces)


def _texts(run: Run) -> Iterable[str]:
    records: list[ReplicaRecord | RequestRecord] = [*run.replicas, *run.requests]
    for record in records:
        yield from filter(None, (record.error, record.traceback))
    yield from (replica.log for replica in run.replicas)
    yield from filter(None, (request.answer for request in run.requests))
