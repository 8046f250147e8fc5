"""The tables of chapter 13 that say what real engines host: the only list of it, read here."""

from __future__ import annotations

import re
from dataclasses import dataclass

from crewlab.building import Project
from crewlab.results.records import KINDS, Kind
from crewlab.results.run import Run

SECTION = "### Is the simulation honest?"
ALWAYS = "†"
GUNICORN, PRELOAD = "gunicorn", "gunicorn --preload"
UVICORN = "uvicorn (1 worker)"
THREADS, PREFORK = "Celery threads", "Celery prefork"
RAY = "Ray"
ENGINES = {GUNICORN, PRELOAD, UVICORN, THREADS, PREFORK, RAY}
ASKED = {"right": "ok", "without answer": "timeout"}
KIND_OF: dict[str, Kind] = {"ok": "ok", "errors": "error"}


@dataclass(frozen=True)
class Row:
    """One app under one load, and what must come of it under ``scale`` and under engines.

    Attributes:
        outcome: what ``Run.expect`` is asked of both runs.
        by_luck: kinds of outcome that the load may give or not give.
        paid: what ``Ledger.expect`` is asked of both.
        engines: which engines host it.
        always: those that every run of the tests starts.
    """

    chapter: str
    app: str
    load: str
    outcome: dict[str, int | str]
    by_luck: frozenset[Kind]
    paid: dict[str, int | str]
    engines: tuple[str, ...]
    always: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.chapter} {self.app}, {self.load}"


@dataclass(frozen=True)
class LeftOut:
    """What no engine is held against, and why."""

    chapter: str
    app: str
    load: str
    why: str


def rows() -> list[Row]:
    return [_row(*cells) for cells in _tables()[0]]


def left_out() -> list[LeftOut]:
    return [LeftOut(*cells) for cells in _tables()[1]]


def kinds(run: Run) -> set[Kind]:
    """Give the kinds of outcome that a run has."""
    return {kind for kind in KINDS if run.count(kind)}


def _tables() -> list[list[list[str]]]:
    [path] = Project.find().select(["13"])
    text = path.read_text(encoding="utf-8").partition(SECTION)[2].partition("\n## ")[0]
    found = re.findall(r"(?m)^\|.*\n\|[-|]+\n((?:\|.*\n)+)", text)
    return [
        [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines]
        for lines in (table.splitlines() for table in found)
    ]


def _row(chapter: str, app: str, load: str, outcome: str, engines: str) -> Row:
    asked: dict[str, int | str] = {}
    paid: dict[str, int | str] = {}
    by_luck: set[Kind] = set()
    for said in outcome.split(", "):
        amount, what = said.removeprefix("perhaps ").split(" ", 1)
        number: int | str = int(amount) if amount.isdigit() else amount
        kind = ASKED.get(what, what)
        if said.startswith("perhaps "):
            by_luck.add(KIND_OF[kind])
        elif what.startswith("paid "):
            paid[what.removeprefix("paid ")] = number
        else:
            asked[kind] = number
    named = engines.split(", ")
    return Row(
        *(chapter, app, load, asked, frozenset(by_luck), paid),
        engines=tuple(name.removesuffix(ALWAYS) for name in named),
        always=tuple(name.removesuffix(ALWAYS) for name in named if name.endswith(ALWAYS)),
    )
