"""The event loop of the child process: model, search and the control channel."""

from __future__ import annotations

import asyncio
import gc
import hmac
import socket
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from aiohttp import web
from aiohttp.http_parser import RawRequestMessage

from crewlab.services import search
from crewlab.services.endpoint import Endpoint, Refusal, as_json, read_json
from crewlab.services.guard import allowed_hosts, is_foreign
from crewlab.services.model import ModelEndpoint
from crewlab.services.records import Settings
from crewlab.services.search import SearchEndpoint
from crewlab.services.traffic import Traffic

CONTROL = "/_control/"
LARGEST_BODY = 16 * 2**20  # bytes
_MODEL_CALLS = frozenset(("/v1/chat/completions", "/v1/embeddings"))

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def serve(
    model: socket.socket, searching: socket.socket, token: str, settings: Mapping[str, Any]
) -> None:
    """Serve the model and the search endpoint for ever.

    Args:
        model: listening socket of the model endpoint and the control channel.
        searching: listening socket of the search endpoint.
        token: what the control channel wants to see.
        settings: `Settings` as plain data, by the endpoint's name.
    """
    asyncio.run(_serve(model, searching, token, settings))


async def _serve(
    model: socket.socket, searching: socket.socket, token: str, settings: Mapping[str, Any]
) -> None:
    endpoints: dict[str, Endpoint] = {
        "model": ModelEndpoint(Traffic(Settings.from_dict(settings.get("model", {})))),
        "search": SearchEndpoint(Traffic(Settings.from_dict(settings.get("search", {})))),
    }
    control = Control(endpoints, token)
    await _listen(model, partial(_route_model, endpoints["model"], control))
    await _listen(searching, partial(_route_search, endpoints["search"]))
    # Everything imported so far stays; looking through it again and again would cost answers.
    gc.collect()
    gc.freeze()
    await asyncio.Event().wait()


async def _listen(listening: socket.socket, route: Handler) -> None:
    """Serve one socket. A plain server without routing: it answers about twice as fast."""
    hosts = allowed_hosts(listening.getsockname()[1])
    loop = asyncio.get_running_loop()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        headers = request.headers
        if is_foreign(headers.get("Host"), headers.get("Origin"), hosts):
            message = "The local services answer programs on this machine only."
            return as_json({"error": {"message": message, "type": "forbidden"}}, 403)
        return await route(request)

    def make_request(
        message: RawRequestMessage, payload: Any, protocol: Any, writer: Any, task: Any
    ) -> web.BaseRequest:
        return web.BaseRequest(
            message, payload, protocol, writer, task, loop, client_max_size=LARGEST_BODY
        )

    # Cancelled handlers are how a request whose client has left comes to its end.
    server = web.Server(
        handler, request_factory=make_request, access_log=None, handler_cancellation=True
    )
    await loop.create_server(server, sock=listening)


async def _route_model(
    endpoint: Endpoint, control: Control, request: web.BaseRequest
) -> web.StreamResponse:
    path = request.path
    if path in _MODEL_CALLS:
        return await endpoint.handle(request)
    if path.startswith(CONTROL):
        return await control.handle(request)
    if path == "/v1/models" and isinstance(endpoint, ModelEndpoint):
        return endpoint.models()
    message = (
        f"The local model does not know {request.method} {path}. It has /v1/chat/completions, "
        "/v1/embeddings and /v1/models."
    )
    return endpoint.refused(Refusal(404, message))


async def _route_search(endpoint: Endpoint, request: web.BaseRequest) -> web.StreamResponse:
    if request.path in search.KINDS:
        return await endpoint.handle(request)
    return endpoint.refused(Refusal(404, "The local search knows POST /search and POST /news."))


class Control:
    """The channel through which the parent steers and reads the endpoints."""

    def __init__(self, endpoints: Mapping[str, Endpoint], token: str) -> None:
        self._endpoints = endpoints
        self._bearer = f"Bearer {token}".encode()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Do what ``/_control/ENDPOINT/COMMAND`` says, for whoever has the token."""
        shown = request.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(shown, self._bearer):
            return as_json({"error": "The control channel wants its token."}, 403)
        name, _, command = request.path.removeprefix(CONTROL).partition("/")
        endpoint = self._endpoints.get(name)
        if endpoint is None:
            return as_json({"error": f"There is no endpoint {name!r}."}, 404)
        traffic = endpoint.traffic
        if command == "settings":
            try:
                traffic.settings = Settings.from_dict(await read_json(request))
            except (Refusal, ValueError, TypeError) as error:
                return as_json({"error": str(error)}, 400)
        elif command == "reset":
            traffic.reset()
        elif command == "journal":
            return as_json(traffic.journal())
        elif command != "stats":
            return as_json({"error": f"There is no command {command!r}."}, 404)
        return as_json(traffic.stats())
