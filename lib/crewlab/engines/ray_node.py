"""Inside the process that starts Ray, and inside the actors, which are the replicas.

Ray is imported here only, in processes of its own. They all have the environment of the process
that starts them: Ray hands it on.
"""

from __future__ import annotations

import sys
import traceback
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from crewlab.deployment import replica
from crewlab.deployment.plan import ReplicaPlan
from crewlab.engines.journal import note
from crewlab.engines.ready import load_module, say_ready

LONGEST_NAME = len("/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")
"""Of a socket that Ray makes below its folder (ray 2.60.0, ``Node`` in ``_private/node.py``)."""

OBJECTS = 80 * 1024 * 1024
"""Bytes for Ray's object store, a little more than the least it takes: requests are small."""

ON_THIS_MACHINE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""What keeps Ray on the loopback interface, as it is by default on macOS and Windows.

``_node_ip_address="127.0.0.1"`` is not enough: on Linux ``resolve_ip_for_localhost`` in
``_private/services.py`` makes the machine's outward address of it, and Ray's servers then listen on
every interface (ray 2.60.0).
"""

SETTINGS = {
    **ON_THIS_MACHINE,
    "RAY_USAGE_STATS_ENABLED": "0",
    # A notebook started by `uv run` would have every actor start by `uv run` as well.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}
"""Environment variables that Ray must find before it is imported."""


class Replica:
    """The actor: imports the app once, and answers requests on Ray's threads."""

    def __init__(self, number: int) -> None:
        """Import the app; what it raises is told by ``failure``."""
        self._run: Callable[[dict[str, Any]], object]
        self._failure: str | None = None
        try:
            self._run = load_module().run
        except BaseException:
            self._failure = traceback.format_exc()
            return
        note("listening", str(number))
        say_ready()

    def failure(self) -> str | None:
        """Tell why it cannot take requests, or None: Ray answers once the app is imported."""
        return self._failure

    def answer(self, number: int, inputs: dict[str, Any]) -> tuple[Any, ...]:
        """Answer a request, as a replica does."""
        note("taken", str(number))
        return replica.answer(self._run, number, inputs)


def start(
    connection: Connection,
    container: ReplicaPlan,
    *,
    folder: str,
    replicas: int,
    redeliver: int,
) -> None:
    """Start Ray and its actors, then answer requests with them until this process is killed.

    Args:
        connection: gives number and inputs of some requests, again and again; takes
            ``("answer", number, text)``, ``("error", number, error, traceback)``,
            ``("lost", number, why, actor)`` or ``("lost", number, why)``.
        container: the environment, disk and log of all these processes.
        folder: where Ray keeps its session.
        replicas: how many actors.
        redeliver: Ray's ``max_task_retries``.
    """
    replica.enter_container(container)
    try:
        actors = _start_actors(folder, replicas, container.threads, redeliver)
    except BaseException:
        traceback.print_exc()
        replica.leave(1)
    distribution = _Distribution(connection, actors, container.threads)
    while True:  # until it is killed
        distribution.serve(connection.recv())


def _start_actors(folder: str, replicas: int, threads: int, redeliver: int) -> list[Any]:
    import ray

    ray.init(
        address="local",  # whatever RAY_ADDRESS says
        num_cpus=replicas,
        object_store_memory=OBJECTS,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        _node_ip_address="127.0.0.1",
        _temp_dir=folder,
    )
    actor = ray.remote(
        num_cpus=1, max_concurrency=threads, max_restarts=-1, max_task_retries=redeliver
    )(Replica)
    actors = [actor.remote(number) for number in range(replicas)]
    for failure in ray.get([one.failure.remote() for one in actors]):
        if failure:
            print(failure, file=sys.stderr, flush=True)
            replica.leave(1)
    return actors


class _Distribution:
    """Gives an actor a request for each of its threads, and the next when one is done.

    So does ``ray.util.ActorPool``, for actors of one thread: what waits is with no actor, and is
    not lost with one.
    """

    def __init__(self, connection: Connection, actors: list[Any], threads: int) -> None:
        self._send = connection.send
        self._actors = actors
        self._free = deque(number for _ in range(threads) for number in range(len(actors)))
        self._running: dict[Any, tuple[int, int]] = {}
        self._restarting: dict[Any, int] = {}

    def serve(self, requests: list[tuple[int, dict[str, Any]]]) -> None:
        """Tell the outcome of each of these requests, given by number."""
        import ray

        waiting = deque(requests)
        while waiting or self._running:
            while waiting and self._free:
                number, inputs = waiting.popleft()
                actor = self._free.popleft()
                reference = self._actors[actor].answer.remote(number, inputs)
                self._running[reference] = number, actor
            if not self._running and not self._restarting:
                break  # an app that can be imported but once
            done, _ = ray.wait([*self._running, *self._restarting])
            for reference in done:
                self._end(reference, ray)
        for number, _ in waiting:
            self._send(("lost", number, "no replica is left to take it"))

    def _end(self, reference: Any, ray: Any) -> None:
        if reference in self._restarting:
            actor = self._restarting.pop(reference)
            if ray.get(reference) is None:
                self._free.append(actor)
            return
        number, actor = self._running.pop(reference)
        try:
            self._send(ray.get(reference))
        except ray.exceptions.RayActorError as gone:
            self._send(("lost", number, replica.describe(gone).splitlines()[0], actor))
            # Given a request now, it would lose that one too.
            alive = self._actors[actor].failure.options(max_task_retries=-1)
            self._restarting[alive.remote()] = actor
        except Exception as problem:  # what cannot be sent, and the like
            self._send(("error", number, replica.describe(problem), traceback.format_exc()))
            self._free.append(actor)
        else:
            self._free.append(actor)
