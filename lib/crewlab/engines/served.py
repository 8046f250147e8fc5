"""What a server's worker runs: the app of ``CREWLAB_APP``, behind WSGI or ASGI.

``POST /`` with the inputs as JSON gives ``{"answer"}``, or ``{"error", "traceback"}``
with status 500. Each worker that can take requests leaves a file with its process id in the folder
``CREWLAB_READY``, which is how the engine knows that all of them are there.
"""

from __future__ import annotations

import json
import os
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from crewlab.engines.ready import load_module, say_ready

Answer = tuple[int, dict[str, Any]]


RUN: Callable[[dict[str, Any]], object] = load_module().run


def answer(body: bytes) -> Answer:
    """Let the app answer one request, on the thread that calls."""
    who: dict[str, Any] = {"pid": os.getpid(), "thread": threading.get_ident()}
    try:
        said = RUN(json.loads(body))
        if not isinstance(said, str):
            raise TypeError(f"run() returned a {type(said).__name__}: return str.")
    except BaseException as error:
        from crewlab.deployment.replica import MAX_TRACEBACK, describe

        text = "".join(traceback.format_exception(error))[-MAX_TRACEBACK:]
        return 500, {"error": describe(error), "traceback": text, **who}
    return 200, {"answer": said, **who}


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The app behind WSGI: one of the server's threads a request."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    status, said = answer(environ["wsgi.input"].read(length))
    text = json.dumps(said).encode()
    start_response(
        "200 OK" if status == 200 else "500 Internal Server Error",
        [("Content-Type", "application/json"), ("Content-Length", str(len(text)))],
    )
    return [text]


_pool: Any = None


async def asgi(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """The app behind ASGI: a thread of a pool a request, as frameworks do with plain functions."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    import asyncio

    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    status, said = await asyncio.get_running_loop().run_in_executor(_pool, answer, body)
    text = json.dumps(said).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})


async def _lifespan(
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    global _pool
    from concurrent.futures import ThreadPoolExecutor

    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            _pool = ThreadPoolExecutor(int(os.environ["CREWLAB_THREADS"]))
            say_ready()
            await send({"type": "lifespan.startup.complete"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
            return
