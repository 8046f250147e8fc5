"""What the builder tells an author when a chapter cannot be built."""

from __future__ import annotations


class BuildError(Exception):
    """A chapter cannot be built; the text says where, why and what to do."""
