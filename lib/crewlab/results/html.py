"""A run, a comparison and a difference as HTML for a notebook.

What differs from run to run stands between two comments, so that a test can leave it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from crewlab.results.records import KINDS
from crewlab.results.style import COLOURS, SYMBOLS
from crewlab.results.text import headline, mix_ups, replica_table

if TYPE_CHECKING:
    from crewlab.results.compare import Comparison
    from crewlab.results.run import Run

_CELL = "text-align:left;padding:2px 12px 2px 0"


def varies(html: str) -> str:
    """Mark what differs from run to run."""
    return f"<!--varies-->{html}<!--/varies-->"


def html_table(columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """Set a table with column heads.

    Args:
        columns: plain texts.
        rows: cells of HTML.
        caption: plain text above the table, for everybody and for screen readers.
    """
    head = "".join(f'<th scope="col" style="{_CELL}">{escape(name)}</th>' for name in columns)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in row) + "</tr>"
        for row in rows
    )
    title = (
        f'<caption style="caption-side:top;text-align:left">{escape(caption)}</caption>'
        if caption
        else ""
    )
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def run_as_html(run: Run) -> str:
    """Show a run: outcomes, mix-ups, the first error with its traceback, replicas, logs."""
    outcomes = [
        (f"{_mark(kind)} {kind}", str(run.count(kind)), escape(run.meaning(kind)))
        for kind in KINDS
        if run.count(kind)
    ]
    parts = [f"<p><b>{escape(headline(run))}</b></p>"]
    parts.append(html_table(("outcome", "requests", "meaning"), outcomes))
    if quotes := mix_ups(run):
        parts.append("<ul>" + "".join(f"<li>{escape(quote)}</li>" for quote in quotes) + "</ul>")
    if run.first_error:
        parts.append(f"<p>First error: <code>{escape(run.first_error[:600])}</code></p>")
    if run.first_traceback:
        parts.append(_fold("Its traceback", run.first_traceback))
    columns, *rows = [[escape(cell) for cell in row] for row in replica_table(run)]
    parts.append(html_table(columns, rows, "Replicas, as kubectl get pods puts it"))
    events = "\n".join(f"{r.name}  {event}" for r in run.replicas for event in r.events)
    if events:
        parts.append(_fold("What the supervisor did", events))
    return varies("".join(parts))


def comparison_as_html(comparison: Comparison) -> str:
    """Show a comparison as a table."""
    rows = [[escape(cell) for cell in row] for row in comparison.rows]
    return varies(html_table(comparison.columns, rows, "Requests answered right, of all"))


def diff_as_html(lines: Sequence[str]) -> str:
    """Show a unified diff; plus and minus say what the colours say."""
    shades = {"+": "rgba(0,114,178,.22)", "-": "rgba(230,159,0,.25)"}
    rows = "".join(
        f'<div style="background:{shades.get(line[:1], "none")};white-space:pre-wrap">'
        f"{escape(line) or ' '}</div>"
        for line in lines
    )
    return f'<div style="font-family:var(--jp-code-font-family,monospace)">{rows}</div>'


def _mark(kind: str) -> str:
    return f'<span style="color:{COLOURS[kind]}" aria-hidden="true">{SYMBOLS[kind]}</span>'


def _fold(title: str, text: str) -> str:
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"
