"""What a Celery worker imports: the app of ``CREWLAB_APP``, with a queue for one run.

An app that brings a Celery of its own keeps it, with all its settings: its ``run`` is then its
task. Any other app becomes the task of a Celery made here. In both cases the run has a queue of
its own, and a mark in front of all its keys, so that nothing of another run can be in the way.
"""

from __future__ import annotations

import json
import os
from typing import Any

from celery import Celery, Task, signals

from crewlab.engines.journal import note
from crewlab.engines.ready import load_module, say_ready

TASK = "crewlab.run"


def configure(queue: Any, url: str, run_id: str, settings: dict[str, Any]) -> None:
    """Lead a Celery to a broker, to the keys of one run.

    Args:
        queue: the Celery.
        url: the broker's.
        run_id: names the queue, and stands in front of every key.
        settings: of Celery's, on top of its own.
    """
    queue.conf.update(settings)
    queue.conf.update(
        broker_url=url,
        result_backend=url,
        task_default_queue="jobs",
        broker_connection_retry_on_startup=False,
        worker_hijack_root_logger=False,
        broker_transport_options={
            **queue.conf.broker_transport_options,
            "global_keyprefix": run_id,
        },
        result_backend_transport_options={"global_keyprefix": run_id},
        result_expires=3600,
    )


def _make() -> Any:
    module = load_module()
    own = next((value for value in vars(module).values() if isinstance(value, Celery)), None)
    if own is None:
        queue = Celery("crewlab", set_as_current=False)
        queue.task(name=TASK)(module.run)
    else:
        queue = own
        if not isinstance(module.run, Task):
            raise TypeError("run() is no task of the app's Celery: decorate it with @....task.")
    configure(
        queue,
        os.environ["CREWLAB_BROKER_URL"],
        os.environ["CREWLAB_RUN"],
        json.loads(os.environ["CREWLAB_SETTINGS"]),
    )
    os.environ["CREWLAB_TASK"] = TASK if own is None else module.run.name
    return queue


def _child_is_ready(**_: Any) -> None:
    say_ready()


def _worker_is_ready(**_: Any) -> None:
    if os.environ["CREWLAB_POOL"] == "threads":
        say_ready()
    note("listening", os.environ["CREWLAB_TASK"])


def _taken(task_id: str, **_: Any) -> None:
    note("taken", task_id)


def _not_told(task_id: str, exception: BaseException, **_: Any) -> None:
    """Celery failed around the task: mostly, the broker did not take its result."""
    note("not told", task_id, f"{type(exception).__name__}: {exception}"[:300])


# Not as decorators, which have no types. Strong references: a signal keeps weak ones by default.
signals.worker_process_init.connect(_child_is_ready, weak=False)
signals.worker_ready.connect(_worker_is_ready, weak=False)
signals.task_prerun.connect(_taken, weak=False)
signals.task_internal_error.connect(_not_told, weak=False)

celery = _make() if "CREWLAB_APP" in os.environ else None
