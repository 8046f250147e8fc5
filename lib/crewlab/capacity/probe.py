"""Reads a replica's processor time and memory from inside, after its start and each request.

It is imported by the replica, never by an app: ``measure`` puts a module of its own before the app.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil

from crewlab.memory import MIB

MARK = "crewlab.capacity: "


def load(folder: str, name: str) -> Callable[[dict[str, Any]], object]:
    """Import an app as a server would, and read this process after each of its requests.

    Args:
        folder: where the app's file is.
        name: its module's name.

    Returns:
        A ``run`` that does what the app's does. After each request it writes one line into the
        replica's log: ``MARK`` and, as JSON, ``start`` (CPU seconds of this process until the app
        was imported), ``cpu`` (CPU seconds since then, at the end of each request so far), and MiB
        of now: ``private``, ``resident``, ``proportional`` (proportional set size: what several
        processes share is divided among them; 0 where the system does not tell: only Linux does).
        A process begins no second request before its first one has ended: with crewai 1.15.30
        first kickoffs that meet in a process that has imported everything itself sometimes fail
        ("dictionary changed size during iteration", once in 128 processes with two threads each).
    """
    sys.path.insert(0, folder)
    run: Callable[[dict[str, Any]], object] = importlib.import_module(name).run
    start = time.process_time()
    cpu: list[float] = []
    own = 0.0  # CPU seconds of the readings themselves, which are no cost of the app
    lock, first = threading.Lock(), threading.Lock()
    is_warm = False

    def run_alone_at_first(inputs: dict[str, Any]) -> object:
        nonlocal is_warm
        with first:
            if not is_warm:
                answer = run(inputs)
                is_warm = True
                return answer
        return run(inputs)

    def measured(inputs: dict[str, Any]) -> object:
        nonlocal own
        answer = run_alone_at_first(inputs)
        with lock:
            cpu.append(time.process_time() - start - own)
            began = time.thread_time()
            memory = psutil.Process().memory_full_info()
            reading = {
                "start": start,
                "cpu": cpu,
                "private": memory.uss / MIB,
                "resident": memory.rss / MIB,
                "proportional": getattr(memory, "pss", 0) / MIB,
            }
            # One write to the log itself: prints of several threads get into one another.
            os.write(1, f"\n{MARK}{json.dumps(reading)}\n".encode())
            own += time.thread_time() - began
        return answer

    return measured
