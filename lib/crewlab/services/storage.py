"""The object storage: moto's S3, on a socket that is listening already."""

from __future__ import annotations

import logging
import select
import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any

from crewlab.services.guard import allowed_hosts, is_foreign

Application = Callable[..., Any]


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
        _guarded(
            conditions_hold(DomainDispatcherApplication(create_backend_app)), allowed_hosts(port)
        ),
        threaded=True,
        request_handler=MotoRequestHandler,
        fd=listening.fileno(),
    )
    server.serve_forever()


def conditions_hold(application: Application) -> Application:
    """Let conditional writes pass one at a time.

    moto checks a condition first and writes later, without a lock in between (``put_object`` in
    ``moto/s3/responses.py``, moto 5.2.5), so two of them could both find it true. In S3 one wins.

    Args:
        application: moto's, as WSGI.

    Returns:
        The same, as atomic as S3.
    """
    one_at_a_time = threading.Lock()

    def conditional(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        is_conditional = "HTTP_IF_MATCH" in environ or "HTTP_IF_NONE_MATCH" in environ
        if environ.get("REQUEST_METHOD") != "PUT" or not is_conditional:
            return application(environ, start_response)  # type: ignore[no-any-return]
        with one_at_a_time:
            return application(environ, start_response)  # type: ignore[no-any-return]

    return conditional


def _guarded(application: Application, hosts: frozenset[str]) -> Application:
    """Refuse what `is_foreign`: moto would let any web page wipe it."""

    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if is_foreign(environ.get("HTTP_HOST"), environ.get("HTTP_ORIGIN"), hosts):
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"The local services answer programs on this machine only."]
        answer: Iterable[bytes] = application(environ, start_response)
        return answer

    return guarded
