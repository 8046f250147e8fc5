"""Sends requests to a server, all at once, and gives each its one outcome."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable
from typing import Any

from crewlab.deployment.backlog import Backlog

Note = Callable[[str, int], str]
"""Told a worker's process id, gives its replica's name; and the thread's number."""


def send_all(backlog: Backlog, port: int, timeout: float, name_of: Callable[[int], str]) -> None:
    """Send every request of a backlog at the same moment, and wait for all outcomes.

    Those that come when the others are finished are sent together, too.

    Args:
        backlog: the requests; each has its outcome when this returns.
        port: where the server listens on this machine.
        timeout: seconds from the release after which a request is a timeout.
        name_of: gives a replica's name for a worker's process id.
    """
    lock = threading.Lock()

    def let_go() -> None:
        if backlog.released is None:
            backlog.release()

    def send(number: int, together: threading.Barrier) -> None:
        together.wait()
        started = backlog.seconds
        status, said = _ask(port, backlog.records[number].inputs, timeout)
        with lock:
            record = backlog.records[number]
            record.started, record.attempts = started, 1
            if "pid" in said:
                record.replica, record.thread = name_of(said["pid"]), 0
            if status == 200:
                backlog.answered(number, said["answer"])
            elif status == "timeout":
                backlog.finish(number, "timeout", error=f"no answer within {timeout:g} s")
            elif status == "lost":
                backlog.finish(number, "lost", error=said["error"])
            else:
                backlog.finish(
                    number, "error", error=said["error"], traceback=said.get("traceback")
                )

    while numbers := backlog.take_all():
        together = threading.Barrier(len(numbers), action=let_go)
        senders = [
            threading.Thread(target=send, args=(number, together), daemon=True)
            for number in numbers
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()


def _ask(port: int, inputs: dict[str, Any], timeout: float) -> tuple[int | str, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("POST", "/", json.dumps(inputs), {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read()
    except TimeoutError:
        return "timeout", {}
    except (OSError, http.client.HTTPException) as problem:
        why = f"the server closed the connection without an answer ({type(problem).__name__})"
        return "lost", {"error": why}
    finally:
        connection.close()
    try:
        return response.status, json.loads(text)
    except ValueError:
        return response.status, {"error": f"HTTP {response.status}: {text[:200]!r}"}
