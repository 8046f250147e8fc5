"""Lets a kernel end at once, in place of being killed.

When a kernel shuts down, ipykernel 7 first sends SIGTERM to its child processes and waits for them
(``Kernel._progressively_terminate_all_children``). The resource tracker of ``multiprocessing``
ignores SIGTERM and ends only when its pipe closes, so the front end loses patience after 2.5 s and
kills the kernel before any of its exit handlers has run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from typing import Any

PATIENCE = 0.5
"""Seconds the resource tracker gets to end by itself; it needs a few milliseconds."""


def end_helpers_first(ipython: Any) -> None:
    """Have the kernel end the helper processes of ``multiprocessing`` before its other children.

    Does nothing where there is no kernel, or where it has been done.

    Args:
        ipython: the running shell.
    """
    kernel = getattr(ipython, "kernel", None)
    shut_down = getattr(kernel, "do_shutdown", None)
    if shut_down is None or hasattr(shut_down, "ends_helpers"):
        return

    def do_shutdown(restart: bool) -> Any:
        with contextlib.suppress(Exception):  # what fails here is left to ipykernel
            end_helpers()
        return shut_down(restart)

    do_shutdown.ends_helpers = True  # type: ignore[attr-defined]
    kernel.do_shutdown = do_shutdown  # type: ignore[union-attr]


def end_helpers() -> None:
    """End the fork server and the resource tracker of this process, if they run.

    Both have only private ways to be stopped before exit (``ForkServer._stop``,
    ``ResourceTracker._stop`` in CPython 3.11 to 3.13); without those this does nothing.
    """
    fork_server = getattr(sys.modules.get("multiprocessing.forkserver"), "_forkserver", None)
    tracker = getattr(
        sys.modules.get("multiprocessing.resource_tracker"), "_resource_tracker", None
    )
    _stop(fork_server, getattr(fork_server, "_forkserver_pid", None), patience=0.0)
    _stop(tracker, getattr(tracker, "_pid", None), patience=PATIENCE)


def _stop(helper: Any, pid: int | None, patience: float) -> None:
    """Stop a helper; kill it if it takes longer than ``patience`` seconds."""
    if pid is None or not hasattr(helper, "_stop") or not hasattr(signal, "SIGKILL"):
        return
    stopping = threading.Thread(target=helper._stop, daemon=True)
    stopping.start()
    stopping.join(patience)
    if stopping.is_alive():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        stopping.join(PATIENCE)
