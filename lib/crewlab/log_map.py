"""From a line in a log to the chapter that explains it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from crewlab.exercises import catalog
from crewlab.exercises.types import LogLine

MOST = 5
"""How many explanations are given for one line."""

# Words that nearly every log line has say nothing about its cause.
_COMMON = frozenset(
    [
        "a",
        "an",
        "and",
        "at",
        "error",
        "exception",
        "file",
        "for",
        "from",
        "in",
        "is",
        "it",
        "line",
        "not",
        "of",
        "on",
        "or",
        "the",
        "to",
    ]
)


@dataclass(frozen=True)
class Explanation:
    """One chapter's answer to a log line.

    Attributes:
        chapter: its number, two digits.
        title: its title.
        line: what it explains.
        score: how much of that is in the text that was asked about, 0 to 1.
    """

    chapter: str
    title: str
    line: LogLine
    score: float


def explain(text: str) -> list[Explanation]:
    """Look a log line up.

    Args:
        text: a line, a piece of one, or a whole traceback.

    Returns:
        At most five explanations, the best first: those whose text is in it (or the other way
        round), else those that share most of their words with it. Empty if none does.
    """
    asked = _plain(text)
    if not asked:
        return []
    found = [
        Explanation(chapter.number, chapter.title, line, _score(_plain(line.text), asked))
        for chapter in map(catalog.chapter, catalog.numbers())
        for line in chapter.logs
    ]
    best = sorted((one for one in found if one.score >= 0.5), key=lambda one: -one.score)
    certain = [one for one in best if one.score == 1]
    return (certain or best)[:MOST]


def as_markdown() -> str:
    """Write the map of all log lines as one page."""
    parts = [
        "# From a log line to its chapter\n",
        "Search this page, or ask for a line of your own log:"
        ' `crewlab explain "Executor is already running"`.\n',
        "This page is made from `lib/crewlab/chapters/` by `crewlab build`.\n",
    ]
    for chapter in map(catalog.chapter, catalog.numbers()):
        if chapter.logs:
            link = f"notebooks/{catalog.notebook_name(chapter.number)}"
            parts += [
                f"## [{chapter.number} {chapter.title}]({link})\n",
                "| seen | what it means |",
                "|---|---|",
                *(f"| `{_cell(line.text)}` | {_cell(line.means)} |" for line in chapter.logs),
                "",
            ]
    return "\n".join(parts)


def _plain(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9_]+", text.lower()))


def _score(known: str, asked: str) -> float:
    if known in asked or (len(asked) >= 8 and asked in known):
        return 1.0
    words = set(known.split()) - _COMMON
    return len(words & set(asked.split())) / len(words) if words else 0.0


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
