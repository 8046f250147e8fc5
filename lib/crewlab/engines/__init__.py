"""Real engines behind the contract of ``scale``: the same requests in, the same ``Run`` out.

``http`` runs an app behind gunicorn or uvicorn. An engine that is not installed says so; none
listens anywhere but on this machine, and none leaves a process behind.
"""

from __future__ import annotations

from crewlab.engines.http import gunicorn, uvicorn

__all__ = ["gunicorn", "uvicorn"]
