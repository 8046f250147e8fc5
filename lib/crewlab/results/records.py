"""What happened to each request and each replica: plain data, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["ok", "wrong", "error", "timeout", "lost"]

KINDS: tuple[Kind, ...] = ("ok", "wrong", "error", "timeout", "lost")

MEANING: dict[Kind, str] = {
    "ok": "answered, about the right customer",
    "wrong": "answered, about somebody else",
    "error": "failed with an error",
    "timeout": "no answer in time",
    "lost": "its replica died, or none was there",
}


JUDGED: dict[Kind, str] = {"ok": "answered right", "wrong": "answered wrongly"}
"""What two of the outcomes mean where the names did not decide but a judge of the chapter's own."""


@dataclass
class RequestRecord:
    """One request and its one outcome.

    Attributes:
        number: position in the run, from 0.
        inputs: what the customer sent.
        kind: the outcome.
        answer: what ``run`` returned, if it did.
        error: "Type: message", where it failed or was lost.
        traceback: the app's traceback as text, paths shortened.
        replica: name of the replica that had it (last), if one did.
        attempts: how often it was given to a replica; more than 1 where it was redelivered.
        thread: number of the thread within the replica.
        started: seconds from the release of all requests to a thread taking this one.
        finished: seconds from the release to its outcome.
    """

    number: int
    inputs: dict[str, Any]
    kind: Kind
    answer: str | None = None
    error: str | None = None
    traceback: str | None = None
    replica: str | None = None
    attempts: int = 0
    thread: int | None = None
    started: float | None = None
    finished: float = 0.0


@dataclass(frozen=True)
class Sample:
    """What a replica's process held at one moment.

    Attributes:
        seconds: since the release of all requests.
        memory: resident memory, MiB.
        files: open file descriptors; 0 where the system does not tell (Windows).
        threads: threads.
        start: the replica's how manieth start this was, from 1.
    """

    seconds: float
    memory: float
    files: int
    threads: int
    start: int


@dataclass
class ReplicaRecord:
    """One replica, in the words of ``kubectl get pods``.

    Attributes:
        name: ``<app>-<number>``.
        status: Running, Completed, Error, OOMKilled or CrashLoopBackOff.
        ready: whether it took requests when the run ended.
        restarts: how often it was started again after it had ended by itself or been killed.
        replaced: how often a fresh one took its place, after an eviction or as planned.
        exit_code: of its last end, 128 plus the signal's number if killed; None while it runs.
        ready_after: seconds from its (last) start until it was ready.
        peak_memory: largest resident memory seen, MiB.
        error: why it failed at start-up, "Type: message".
        traceback: the start-up failure's traceback.
        log: the end of what it printed, at most 64 KiB.
        events: what the supervisor did to it, each with its time.
        samples: its memory, files and threads while it served, some ten a second.
    """

    name: str
    status: str = "Pending"
    ready: bool = False
    restarts: int = 0
    replaced: int = 0
    exit_code: int | None = None
    ready_after: float | None = None
    peak_memory: float = 0.0
    error: str | None = None
    traceback: str | None = None
    log: str = ""
    events: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)


@dataclass(frozen=True)
class Event:
    """Something that happened while a deployment ran.

    Attributes:
        kind: "ready", "taken", "finished", "ended" or "restarted".
        seconds: since the deployment began.
        replica: the replica's name.
        request: the request's number, for "taken" and "finished".
        outcome: the request's outcome, for "finished".
    """

    kind: str
    seconds: float
    replica: str | None = None
    request: int | None = None
    outcome: Kind | None = None
