"""Names of a package that are imported when first used, so that the package costs nothing."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazily(package: str, rooms: Mapping[str, str]) -> Callable[[str], Any]:
    """Make the ``__getattr__`` of a package.

    Args:
        package: its ``__name__``.
        rooms: the module below it in which each name lives, for example
            ``{"scale": "deployment"}``.

    Returns:
        A function that gives the value of a name, and raises AttributeError for any other.
    """

    def look_up(name: str) -> Any:
        if name not in rooms:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{rooms[name]}"), name)

    return look_up
