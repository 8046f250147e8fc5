"""Shows text and HTML in a notebook, and plain text anywhere else."""

from __future__ import annotations

import html
import re
import sys
from typing import Any

from crewlab import workspace
from crewlab.errors import Told


class CellRefused(Told):
    """Ends a cell because of a learner's slip, with our message in place of a traceback.

    An ordinary error for every front end: "Run all" stops, nbclient and nbval report it.
    """


def show(text: str, rich: str | None = None, bundle: dict[str, Any] | None = None) -> None:
    """Show something below the running cell, or print it where there is no notebook.

    Args:
        text: the plain version, complete in itself.
        rich: the same as HTML.
        bundle: further representations by MIME type, such as a widget's view.
    """
    if workspace.in_kernel() and rich is not None:
        from IPython.display import display

        display({"text/plain": text, "text/html": rich, **(bundle or {})}, raw=True)
        return
    try:
        print(text, flush=True)
    except UnicodeEncodeError:  # a console that does not know our symbols
        encoding = sys.stdout.encoding or "ascii"
        print(text.encode(encoding, "replace").decode(encoding), flush=True)


def as_html(text: str) -> str:
    """Escape a text for HTML and turn `words in back quotes` into code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text)).replace("\n", "<br>")


def plain(text: str) -> str:
    """Drop the back quotes, for places that show neither Markdown nor HTML."""
    return text.replace("`", "")


def panel(body: str, colour: str = "#6b7280") -> str:
    """Frame HTML with a coloured bar; the words inside must say all that the colour says."""
    return (
        f'<div style="border-left:4px solid {colour};padding:.3em .9em;margin:.3em 0">{body}</div>'
    )


GOOD = "#0072b2"
"""Blue and orange: told apart by the colour-blind."""
TRY_AGAIN = "#d55e00"
