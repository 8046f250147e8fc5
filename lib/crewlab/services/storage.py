"""The object storage: moto's S3, on a socket that is listening already."""

from __future__ import annotations

import logging
import select
import socket
from collections.abc import Callable, Iterable
from typing import Any

from crewlab.services.guard import allowed_hosts, is_foreign


def serve_storage(listening: socket.socket) -> None:
    """Serve S3 on a socket for ever.

    Args:
        listening: the socket. moto takes a second of CPU and 60 MB to import, so it is imported
            when the first client comes, who waits in the backlog meanwhile.
    """
    select.select([listening], [], [])

    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    host, port = listening.getsockname()
    server = make_server(
        host,
        port,
        _guarded(DomainDispatcherApplication(create_backend_app), allowed_hosts(port)),
        threaded=True,
        request_handler=MotoRequestHandler,
        fd=listening.fileno(),
    )
    server.serve_forever()


def _guarded(application: Callable[..., Any], hosts: frozenset[str]) -> Callable[..., Any]:
    """Refuse what `is_foreign`: moto would let any web page wipe it."""

    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if is_foreign(environ.get("HTTP_HOST"), environ.get("HTTP_ORIGIN"), hosts):
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"The local services answer programs on this machine only."]
        answer: Iterable[bytes] = application(environ, start_response)
        return answer

    return guarded
