"""gunicorn's settings for an app of the course; gunicorn reads this file."""

from __future__ import annotations

from typing import Any


def post_worker_init(_worker: Any) -> None:
    """Called in each worker once it has loaded the app."""
    from crewlab.engines.ready import say_ready

    say_ready()
