"""What a deployment is asked to be, checked before anything starts."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

from crewlab.app import App
from crewlab.companies import default_requests
from crewlab.deployment.evictions import Eviction, as_evictions
from crewlab.errors import ToldTypeError, ToldValueError

StartMethod = Literal["forkserver", "spawn", "fork"]
Environment = Mapping[str, str | None]
Files = Mapping[str, str]
Inputs = Mapping[str, Any]
Judge = Callable[[Inputs, str], bool]

MAX_REPLICAS = 64
MAX_THREADS = 128
MAX_REQUESTS = 10_000


@dataclass(frozen=True)
class Plan:
    """A checked request for a deployment; the fields are the arguments of ``scale``.

    Attributes:
        requests: all requests, those of ``then`` last.
        at_first: how many of them are released at first, the others once these are finished.
    """

    app: App
    replicas: int
    threads: int
    requests: list[dict[str, Any]]
    at_first: int
    start_method: StartMethod
    env: Sequence[Environment]
    files: Files
    memory_limit: float | None
    cores: int | None
    timeout: float
    startup_timeout: float
    restarts: int
    read_only: bool
    judge: Judge | None
    redeliver: int
    recycle_after: int | None
    evictions: tuple[Eviction, ...]
    drain: bool
    stalled_after: float | None


@dataclass(frozen=True)
class ReplicaPlan:
    """What one start of one replica needs to know; plain data, since it is sent to its process.

    Attributes:
        name: the replica's name, ``<app>-<number>``.
        app_name: module to import.
        app_folder: folder with this run's copy of the app, followed by the app's own folder.
        folder: the replica's disk: ``work`` (working directory), ``tmp``, ``home``.
        log: file that takes standard output and standard error.
        env: the whole environment of the process.
        threads: how many requests are worked on at the same time.
        read_only: refuse writes outside ``folder/tmp``.
        drain: on SIGTERM, finish what is being worked on before ending.
        cores: how many processor cores it shares with the other replicas; None: all there are.
    """

    name: str
    app_name: str
    app_folder: tuple[str, ...]
    folder: Path
    log: Path
    env: dict[str, str]
    threads: int
    read_only: bool
    drain: bool
    cores: int | None = None


def _whole_number(value: object, name: str, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ToldValueError(
            f"{name}={value!r} cannot be deployed here.\n"
            f"One machine plays the whole cluster, so it must be a whole number"
            f" from {least} to {most}.\nChoose a number in that range."
        )
    return value


def _seconds(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 3600:
        raise ToldValueError(f"{name}={value!r}: give seconds, more than 0 and at most 3600.")
    return float(value)


def as_app(app: App | str | Path) -> App:
    """Accept an app, or the path of its file.

    Args:
        app: an ``App``, or the path of a ``.py`` file.

    Returns:
        The app.

    Raises:
        ValueError: there is no such file.
        TypeError: it is something else.
    """
    if isinstance(app, App):
        if not app.path.is_file():
            raise ToldValueError(
                f"The file of app {app.name!r} is gone.\n"
                f"It is written by its %%app cell.\nRun that cell again."
            )
        return app
    if isinstance(app, str | Path):
        return App.from_file(app)
    raise ToldTypeError(
        f"scale() needs an app, and {app!r:.80} is a {type(app).__name__}.\n"
        "An app is what a %%app cell binds, or the path of a .py file with run(inputs).\n"
        "Pass its name without quotes, for example scale(broken)."
    )


def _as_requests(requests: int | Sequence[Inputs]) -> list[dict[str, Any]]:
    if isinstance(requests, int):
        return default_requests(_whole_number(requests, "requests", 1, MAX_REQUESTS))
    if isinstance(requests, (str, bytes, Mapping)) or not isinstance(requests, Sequence):
        raise ToldTypeError(
            f"requests is a {type(requests).__name__}.\n"
            "It must be a number, or a list with the inputs of each request.\n"
            'For example requests=[{"company": "Aldermoor"}, {"company": "Brightwater"}].'
        )
    _whole_number(len(requests), "the number of requests", 1, MAX_REQUESTS)
    for number, inputs in enumerate(requests):
        if not isinstance(inputs, Mapping):
            raise ToldTypeError(
                f"Request {number} is a {type(inputs).__name__}, not a dict: {inputs!r:.80}.\n"
                "Each request is what one customer sends: the inputs of run().\n"
                'Write it as {"company": ...}.'
            )
        try:
            pickle.dumps(dict(inputs))
        except Exception as error:  # pickle raises whatever an object's own code raises
            raise ToldValueError(
                f"Request {number} cannot be sent to another process: {error}.\n"
                "What crosses to a replica must be plain data.\n"
                "Send ids, strings and numbers; open connections inside run()."
            ) from None
    return [dict(inputs) for inputs in requests]


def _as_environments(
    env: Environment | Sequence[Environment] | None, replicas: int
) -> list[Environment]:
    if env is None or isinstance(env, Mapping):
        each: list[Environment] = [env or {}] * replicas
    else:
        each = list(env)
    if len(each) != replicas:
        raise ToldValueError(
            f"env lists {len(each)} environments for {replicas} replicas.\n"
            "A list gives each replica its own.\nGive one mapping for all, or one a replica."
        )
    for mapping in each:
        if not isinstance(mapping, Mapping) or not all(
            isinstance(key, str) and (value is None or isinstance(value, str))
            for key, value in mapping.items()
        ):
            raise ToldTypeError(
                "env must map names to strings.\nThe operating system knows nothing else.\n"
                'For example env={"OPENAI_API_KEY": None} takes the variable away.'
            )
    return each


def _as_files(files: Files | None) -> dict[str, str]:
    if files is None:
        return {}
    if not isinstance(files, Mapping) or not all(
        isinstance(name, str) and isinstance(text, str) for name, text in files.items()
    ):
        raise ToldTypeError(
            "files must map relative paths to texts.\n"
            "They are written into the working directory of each replica.\n"
            'For example files={".env": "REGION=EU"}.'
        )
    for name in files:
        path = PurePosixPath(name)
        if not path.parts or path.is_absolute() or ".." in path.parts or {*"\\:"} & {*name}:
            raise ToldValueError(
                f"files: {name!r} would not be inside the working directory of a replica.\n"
                "Give a relative path with forward slashes and without '..', such as 'data/a.txt'."
            )
    return dict(files)


def make_plan(
    app: App | str | Path,
    *,
    replicas: int,
    threads: int,
    requests: int | Sequence[Inputs],
    then: Sequence[Inputs] = (),
    start_method: StartMethod = "forkserver",
    env: Environment | Sequence[Environment] | None = None,
    files: Files | None = None,
    memory_limit: float | None = None,
    cores: int | None = None,
    timeout: float = 30.0,
    startup_timeout: float = 60.0,
    restarts: int = 0,
    read_only: bool = False,
    judge: Judge | None = None,
    redeliver: int = 0,
    recycle_after: int | None = None,
    evict: Sequence[Eviction] = (),
    drain: bool = False,
    stalled_after: float | None = None,
) -> Plan:
    """Check what ``scale`` was given; what is left out has the default it has there.

    Returns:
        The plan of the deployment.

    Raises:
        ValueError: a number or a name that cannot be deployed.
        TypeError: something of a wrong type.
    """
    if start_method not in get_args(StartMethod):
        raise ToldValueError(
            f"start_method={start_method!r} is unknown: use 'forkserver', 'spawn' or 'fork'."
        )
    available = multiprocessing.get_all_start_methods()
    if start_method not in available:
        if start_method == "fork":
            raise ToldValueError(
                "start_method='fork' does not exist on this operating system.\n"
                "Only Linux and macOS can fork a process.\nUse start_method='spawn'."
            )
        start_method = "spawn"
    if memory_limit is not None and not memory_limit > 0:
        raise ToldValueError(f"memory_limit={memory_limit!r}: give MiB, more than 0, or None.")
    if drain and os.name == "nt":
        raise ToldValueError(
            "drain=True needs SIGTERM, which Windows does not have.\n"
            "A process there is ended without being asked.\nUse drain=False, or Linux or macOS."
        )
    if cores is not None:
        cores = _whole_number(cores, "cores", 1, os.cpu_count() or 1)
        if not hasattr(os, "sched_setaffinity"):
            raise ToldValueError(
                "cores= needs sched_setaffinity, which this operating system does not have.\n"
                "Only Linux lets a process be held to some cores.\nLeave it out here."
            )
    count = _whole_number(replicas, "replicas", 1, MAX_REPLICAS)
    if recycle_after is not None:
        recycle_after = _whole_number(recycle_after, "recycle_after", 1, MAX_REQUESTS)
    first = _as_requests(requests)
    later = _as_requests(then) if then else []
    return Plan(
        app=as_app(app),
        replicas=count,
        threads=_whole_number(threads, "threads", 1, MAX_THREADS),
        requests=[*first, *later],
        at_first=len(first),
        start_method=start_method,
        env=_as_environments(env, count),
        files=_as_files(files),
        memory_limit=memory_limit,
        cores=cores,
        timeout=_seconds(timeout, "timeout"),
        startup_timeout=_seconds(startup_timeout, "startup_timeout"),
        restarts=_whole_number(restarts, "restarts", 0, 20),
        read_only=read_only,
        judge=judge,
        redeliver=_whole_number(redeliver, "redeliver", 0, 20),
        recycle_after=recycle_after,
        evictions=as_evictions(evict, count),
        drain=drain,
        stalled_after=None if stalled_after is None else _seconds(stalled_after, "stalled_after"),
    )
