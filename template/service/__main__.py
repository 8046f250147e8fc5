"""The start: ``python -m service``. The settings first, then uvicorn and its workers.

uvicorn starts a worker again that ends while it imports the app, for ever, so that a missing
variable would be an endless loop in a container that counts as running. Checked here, in the
parent, it is one message and the end.
"""

from __future__ import annotations

import math

import uvicorn

from service import logs
from service.settings import Settings, load


def main() -> None:
    """Check the environment, then serve until SIGTERM."""
    settings = load()
    logs.set_up(settings.secrets)
    serve(settings)


def serve(settings: Settings) -> None:
    """Run the workers; each imports the app, and CrewAI, for itself."""
    uvicorn.run(
        "service.app:app",
        host=settings.service_host,
        port=settings.service_port,
        workers=settings.service_workers,
        timeout_graceful_shutdown=math.ceil(settings.service_job_seconds),
        timeout_worker_healthcheck=60,  # a worker that imports CrewAI is busy, not dead
        access_log=False,
        log_config=None,  # ours: uvicorn's lines are JSON too
    )


if __name__ == "__main__":  # each worker imports this file once more
    main()
