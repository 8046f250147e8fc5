"""The child process of the local services: ``python -m crewlab.services``.

It takes its orders as one line of JSON on its standard input, binds its sockets with nothing but
the standard library, reports the ports on its standard output, and imports what serves only then:
clients that come early wait in the sockets' backlog. It ends when its standard input does.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import threading
from typing import Any

NAMES = ("model", "search", "storage")
BACKLOG = 1024
MOST_FILES = 10_240  # macOS takes no more (OPEN_MAX) and starts processes with 256
PARENT_LOOK = 1.0  # s between two looks at whether the parent is still there


def main() -> None:
    """Bind, report, watch the parent, serve until told to stop."""
    # An interrupt of the notebook's kernel is none of this process's business.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    orders = json.loads(sys.stdin.buffer.readline())
    sockets = {}
    for name in NAMES:
        port = orders["ports"].get(name, 0)
        try:
            sockets[name] = bind(port)
        except OSError as error:
            _report({"refused": {"port": port, "why": error.strerror or str(error)}})
            sys.exit(3)
    _report({"ports": {name: bound.getsockname()[1] for name, bound in sockets.items()}})
    threading.Thread(target=_end_with_parent, name="parent watch", daemon=True).start()
    _allow_many_connections()

    from crewlab.services.storage import serve_storage

    threading.Thread(
        target=serve_storage, args=(sockets["storage"],), name="storage", daemon=True
    ).start()

    from crewlab.services.server import serve

    serve(sockets["model"], sockets["search"], orders["token"], orders["settings"])


def bind(port: int) -> socket.socket:
    """Open a listening socket on the loopback interface.

    Args:
        port: the port, or 0 for one that the system chooses.

    Returns:
        The socket; connections queue in it from now on.

    Raises:
        OSError: the port is taken.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # On Windows SO_REUSEADDR would let two processes share the port; elsewhere it only lets a
    # restarted service have its port back while old connections of the last one time out.
    if os.name == "nt":
        listening.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_EXCLUSIVEADDRUSE", -5), 1)
    else:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def _allow_many_connections() -> None:
    """Raise the limit of open files: every LLM object of every replica keeps its connection."""
    if os.name != "posix":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # a system that knows a lower limit still
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _report(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


def _end_with_parent() -> None:
    """End this process once the parent is gone, however it went.

    The pipe on standard input closes with the parent's last breath, SIGKILL included. Should a
    forked child of the parent still hold the other end, a new parent process id tells as much.
    """
    parent = os.getppid()
    while True:
        if os.name == "posix":
            readable, _, _ = select.select([0], [], [], PARENT_LOOK)
            if os.getppid() != parent:
                os._exit(0)
            if not readable:
                continue
        if not os.read(0, 1024):
            os._exit(0)


if __name__ == "__main__":
    main()
