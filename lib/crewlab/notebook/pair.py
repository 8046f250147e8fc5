"""A table and the picture that says the same: shown once, or in two places that are filled anew.

Both widgets of the course show their results so. What shows is handed to a `Publish`: the number of
the place (0: the table, 1: the picture), the MIME bundle and its metadata.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from crewlab import workspace
from crewlab.results.show import png, varies_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Publish = Callable[[int, dict[str, Any], dict[str, Any]], None]


def hand_over(
    publish: Publish, *, text: str, html: str, draw: Callable[[], Figure], alt: str
) -> None:
    """Hand the table to ``publish`` first, then the picture.

    Args:
        publish: where they go.
        text: the table for a terminal.
        html: the table for a page.
        draw: makes the picture; called when the table is out.
        alt: what stands for the picture.
    """
    publish(0, {"text/plain": varies_text(text), "text/html": html}, {})
    picture = {"image/png": png(draw()), "text/plain": alt}
    publish(1, picture, {"image/png": {"alt": alt}})


def publish_once(_index: int, bundle: dict[str, Any], metadata: dict[str, Any]) -> None:
    """Show it below the cell; outside of a notebook, print the table."""
    if not workspace.in_kernel():
        if "text/html" in bundle:
            print(bundle["text/plain"])
        return
    from IPython.display import display

    display(bundle, raw=True, metadata=metadata)


class Places:
    """Two outputs below a widget, each replaced whenever there is something new."""

    def __init__(self) -> None:
        """Name them; nothing is shown yet."""
        self._ids = (uuid4().hex, uuid4().hex)

    def open(self, of: str = "") -> None:
        """Hold both places free, with words that say what will come there.

        Args:
            of: what the table and the picture are of, for example ``" of a run"``.
        """
        from IPython.display import display

        for display_id, what in zip(self._ids, ("table", "picture"), strict=True):
            display({"text/plain": f"The {what}{of}."}, raw=True, display_id=display_id)

    def publish(self, index: int, bundle: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Replace what is in one of them."""
        from IPython.display import update_display

        update_display(bundle, raw=True, metadata=metadata, display_id=self._ids[index])
