"""Errors that say all there is to say: a notebook shows their message, without our traceback."""

from __future__ import annotations


class Told(Exception):
    """What happened, why, and what to do, in three lines or fewer."""

    def _render_traceback_(self) -> list[str]:  # IPython shows these lines instead of its own
        return str(self).splitlines()


class ToldValueError(Told, ValueError):
    """A value that cannot be worked with."""


class ToldTypeError(Told, TypeError):
    """Something of the wrong type."""


class ToldOSError(Told, OSError):
    """The machine lacks room or permission."""

    def __str__(self) -> str:
        return str(self.strerror)
