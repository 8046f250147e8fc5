"""Runs a service under a watchdog that says where its requests wait, if none of them moves.

``faulthandler`` has a watchdog of its own, ``dump_traceback_later``, that goes off at a fixed time.
This one looks ten times a second where each request is, so that a slow machine is no alarm.
"""

import faulthandler
import importlib.util
import os
import sys
import threading
import time


def load(name: str, file: str):
    spec = importlib.util.spec_from_file_location(name, file)
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


service = load(os.environ["SERVICE"], os.environ["SERVICE_FILE"])
PATIENCE = float(os.environ["WATCHDOG_PATIENCE"])
working: set[int] = set()
starting = threading.Lock()
watching: list[threading.Thread] = []


def watch() -> None:
    seen, since = {}, time.monotonic()
    while True:
        time.sleep(0.1)
        frames = sys._current_frames()
        now = {thread: frames[thread].f_lasti for thread in [*working] if thread in frames}
        if not now or now != seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > PATIENCE:
            faulthandler.dump_traceback(all_threads=True)
            os._exit(70)


def run(inputs: dict) -> str:
    with starting:
        if not watching:  # not at import: a thread does not survive a fork
            watching.append(threading.Thread(target=watch, daemon=True))
            watching[0].start()
    working.add(threading.get_ident())
    try:
        return service.run(inputs)
    finally:
        working.discard(threading.get_ident())
