"""The local services: a model endpoint, a search endpoint and an object storage on this machine.

All three run in one child process and listen on the loopback interface only. Importing this
package costs next to nothing: what serves is imported in the child, what steers on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crewlab.lazily import lazily

if TYPE_CHECKING:
    from crewlab.services.handle import Services, current, start
    from crewlab.services.process import ServicesError
    from crewlab.services.records import Call, Settings, Stats

__all__ = ["Call", "Services", "ServicesError", "Settings", "Stats", "current", "start"]

__getattr__ = lazily(
    __name__,
    {
        "Call": "records",
        "Services": "handle",
        "ServicesError": "process",
        "Settings": "records",
        "Stats": "records",
        "current": "handle",
        "start": "handle",
    },
)
