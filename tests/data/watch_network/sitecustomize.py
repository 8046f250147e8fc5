"""Every Python process that finds this on its path notes each address it turns to.

The file is named in NETWORK_LOG; a line is: process, event, address. See
https://docs.python.org/3/library/audit_events.html for the events.
"""

import json
import os
import sys

EVENTS = {
    "socket.bind": 1,
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.sendmsg": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
    "socket.gethostbyaddr": 0,
}


def _open_log() -> int:
    return os.open(os.environ["NETWORK_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def _watch() -> None:
    log = _open_log()

    def note(event: str, arguments: tuple) -> None:
        nonlocal log
        if event not in EVENTS:
            return
        address = arguments[EVENTS[event]]
        if address is None:  # a connected socket's sendmsg: its connect is noted already
            return
        line = json.dumps([os.getpid(), event, address], default=repr).encode() + b"\n"
        try:
            os.write(log, line)
        except OSError:  # a program that closes all files it did not open
            log = _open_log()
            os.write(log, line)

    sys.addaudithook(note)


if "NETWORK_LOG" in os.environ:
    _watch()
