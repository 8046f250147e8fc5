"""The inside of a replica: a process that imports the app and answers requests on threads.

Everything here runs in the replica's own process. It talks to its supervisor through one pipe, by
tuples whose first item is their kind:

    supervisor -> replica: ("request", number, inputs) | ("stop",)
    replica -> supervisor: ("ready",) | ("failed", error, traceback)
                           | ("taken", number, thread)
                           | ("answer", number, text) | ("error", number, error, traceback)
"""

from __future__ import annotations

import importlib
import os
import queue
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

from crewlab.deployment.plan import ReplicaPlan
from crewlab.deployment.preload import complete
from crewlab.deployment.readonly import make_root_read_only

Run = Callable[[dict[str, Any]], object]
MAX_ERROR = 4_000
MAX_TRACEBACK = 20_000
MAX_ANSWER = 1_000_000
LAST_WORD = 0.05  # s that a request may take which was sent before the supervisor sent SIGTERM


def main(connection: Connection, plan: ReplicaPlan, run: Run | None = None) -> None:
    """Be a replica until told to stop.

    Args:
        connection: this end of the pipe to the supervisor.
        plan: what this replica is.
        run: the app's function, where a preloading master has imported it before the fork.
    """
    enter_container(plan)
    send = _Sender(connection)
    told_to_end = _note_sigterm() if plan.drain else None
    try:
        run = run or load_app(plan)
    except BaseException as error:
        report_failure(send, error)
        leave(1)
    tasks: queue.Queue[tuple[int, dict[str, Any]]] = queue.Queue()
    for number in range(plan.threads):
        threading.Thread(
            target=_work, args=(run, tasks, send, number), name=f"worker-{number}", daemon=True
        ).start()
    send(("ready",))
    is_draining = False
    while True:
        if is_draining and not connection.poll(LAST_WORD):
            if not tasks.unfinished_tasks:
                leave(0)
            continue
        if (
            told_to_end is not None
            and not is_draining
            and connection not in wait([connection, told_to_end])
        ):
            is_draining = signal.SIGTERM in os.read(told_to_end, 64)
            continue
        try:
            message = connection.recv()
        except (EOFError, OSError):
            leave(1)  # the supervisor is gone
        if message[0] == "stop":
            leave(0)
        tasks.put(message[1:])


def _note_sigterm() -> int:
    """Let SIGTERM be heard by `main`, which then finishes what is being worked on.

    A handler in Python would not do: it runs when the main thread runs, and that may just be on
    its way into `wait`, or another thread may get the signal. The byte comes in every case.

    Returns:
        The descriptor from which the number of each signal can be read that has come.
    """
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told)
    signal.signal(signal.SIGTERM, lambda *_: None)  # else it would end the process at once
    return heard


def enter_container(plan: ReplicaPlan) -> None:
    """Give this process its own group, environment, disk and log, as a container has."""
    if hasattr(os, "setsid"):
        os.setsid()  # a notebook's interrupt goes to the kernel's group and must not come here
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _die_with_parent()
    if plan.cores is not None and sys.platform == "linux":
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: plan.cores])
    os.environ.clear()
    os.environ.update(plan.env)
    os.chdir(plan.folder / "work")
    tempfile.tempdir = None  # forget the fork server's
    log = os.open(plan.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    sys.path[:0] = plan.app_folder
    if plan.read_only:
        make_root_read_only([plan.folder / "tmp"])


def load_app(plan: ReplicaPlan) -> Run:
    """Import the app as a server would, and warm CrewAI up if the app has imported it.

    Returns:
        Its ``run`` function.

    Raises:
        BaseException: whatever the app raises at import.
        AttributeError: the app has no callable ``run``.
    """
    module = importlib.import_module(plan.app_name)
    if "crewai" in sys.modules:
        complete()
    run = getattr(module, "run", None)
    if not callable(run):
        raise AttributeError(
            f"{plan.app_name}.py has no function run(inputs): a replica has nothing to call."
        )
    return run  # type: ignore[no-any-return]


def describe(error: BaseException) -> str:
    """Say an error as the last line of its traceback does."""
    text = str(error)
    name = type(error).__name__
    return (f"{name}: {text}" if text else name)[:MAX_ERROR]


def report_failure(send: Callable[[tuple[Any, ...]], None], error: BaseException) -> None:
    """Write a start-up error to the log, and tell the supervisor."""
    text = "".join(traceback.format_exception(error))
    print(text, file=sys.stderr, flush=True)
    send(("failed", describe(error), text[-MAX_TRACEBACK:]))


def leave(code: int) -> None:
    """End this process now, its log written, nothing else run."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    os._exit(code)


def _work(
    run: Run,
    tasks: queue.Queue[tuple[int, dict[str, Any]]],
    send: _Sender,
    thread: int,
) -> None:
    while True:
        number, inputs = tasks.get()
        send(("taken", number, thread))
        send(answer(run, number, inputs))
        tasks.task_done()


def answer(run: Run, number: int, inputs: dict[str, Any]) -> tuple[Any, ...]:
    """Have the app answer a request.

    Returns:
        What is sent to the supervisor: an ``("answer", ...)`` or an ``("error", ...)``.
    """
    try:
        said = run(inputs)
    except BaseException as error:
        text = "".join(traceback.format_exception(error))
        return ("error", number, describe(error), text[-MAX_TRACEBACK:])
    if isinstance(said, str):
        return ("answer", number, said[:MAX_ANSWER])
    why = f"run() returned a {type(said).__name__}, and a replica sends text: return str"
    return ("error", number, f"TypeError: {why}, for example result.raw.", "")


class _Sender:
    """Sends whole messages from several threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def __call__(self, message: tuple[Any, ...]) -> None:
        with self._lock:
            try:
                self._connection.send(message)
            except OSError:
                leave(1)  # the supervisor is gone


def _die_with_parent() -> None:
    """Ask Linux to kill this process when the one that forked it dies, even while stopped."""
    if sys.platform != "linux":
        return
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
