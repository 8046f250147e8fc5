"""Real engines behind the contract of ``scale``: the same requests in, the same ``Run`` out.

``gunicorn`` and ``uvicorn`` run an app behind HTTP, ``celery`` behind a queue on a real broker,
``ray_actors`` in the actors of a Ray, which the course's environment comes without. An engine that
is not installed says so; none listens anywhere but on this machine, and none leaves a process
behind.
"""

from __future__ import annotations

from crewlab.engines.brokers import broker
from crewlab.engines.http import gunicorn, serve, uvicorn
from crewlab.engines.queue import celery
from crewlab.engines.ray import ray_actors

__all__ = ["broker", "celery", "gunicorn", "ray_actors", "serve", "uvicorn"]
