"""Real engines behind the contract of ``scale``: the same requests in, the same ``Run`` out.

``gunicorn`` and ``uvicorn`` run an app behind HTTP, ``celery`` behind a queue on a real broker.
An engine that is not installed says so; none listens anywhere but on this machine, and none leaves
a process behind.
"""

from __future__ import annotations

from crewlab.engines.brokers import broker
from crewlab.engines.http import gunicorn, serve, uvicorn
from crewlab.engines.queue import celery

__all__ = ["broker", "celery", "gunicorn", "serve", "uvicorn"]
