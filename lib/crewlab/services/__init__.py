"""The local services: a model endpoint, a search endpoint and an object storage on this machine.

All three run in one child process and listen on the loopback interface only. Importing this
package costs next to nothing: what serves is imported in the child, what steers on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crewlab.services.handle import Services, current, start
    from crewlab.services.process import ServicesError
    from crewlab.services.records import Call, Settings, Stats

__all__ = ["Call", "Services", "ServicesError", "Settings", "Stats", "current", "start"]

_ROOMS = {
    "Call": "records",
    "Services": "handle",
    "ServicesError": "process",
    "Settings": "records",
    "Stats": "records",
    "current": "handle",
    "start": "handle",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
