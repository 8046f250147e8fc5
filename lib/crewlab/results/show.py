"""Putting a result into a notebook: a table first, the picture that says the same after it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def png(figure: Figure) -> bytes:
    """Render a figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def varies_text(text: str) -> str:
    """Mark text that differs from run to run, as the HTML beside it is marked."""
    return f"~~~ varies\n{text}\n~~~"


def show(text: str, html: str, figure: Figure | None = None) -> None:
    """Display a result in the running notebook.

    Args:
        text: for a terminal, and for a notebook read without HTML.
        html: tables that carry everything the picture shows.
        figure: the picture.
    """
    from IPython.display import Image, display

    display({"text/plain": varies_text(text), "text/html": html}, raw=True)
    if figure is not None:
        display(Image(png(figure), alt="The table above, drawn."))


class Shown:
    """A result that shows itself at the end of a cell: its text, its tables and its picture."""

    def _repr_html_(self) -> str:
        raise NotImplementedError

    def picture(self) -> Figure | None:
        """Draw what the tables say; None if there is no picture of it."""
        return None

    def _ipython_display_(self) -> None:
        show(str(self), self._repr_html_(), self.picture())
