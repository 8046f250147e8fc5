"""What the model and the search endpoint have in common: every request is let in, or not."""

from __future__ import annotations

import asyncio
import json
import math
import sys
import traceback
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from crewlab.services.records import DROPPED
from crewlab.services.traffic import Traffic, Visit


class Refusal(Exception):
    """A request that is answered with an error.

    Attributes:
        status: the HTTP status.
        message: what happened, why, what to do.
        param: the field of the request that is at fault.
    """

    def __init__(self, status: int, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param


class Endpoint(ABC):
    """One service's requests, counted and treated as its settings say."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic

    @abstractmethod
    def body_of_error(self, refusal: Refusal) -> Mapping[str, Any]:
        """Put a refusal into the shape this service's clients know."""

    @abstractmethod
    async def answer(
        self, request: web.BaseRequest, body: dict[str, Any], visit: Visit
    ) -> web.StreamResponse:
        """Answer a request that has been let in."""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Count a request, and answer, refuse, drop or keep it waiting."""
        visit = self.traffic.arrive(request.path)
        try:
            response = await self._treat(request, visit)
            if visit.status != DROPPED:
                visit.status = response.status
            return response
        except Refusal as refusal:
            visit.status = refusal.status
            return self.refused(refusal)
        except ConnectionError:
            return web.Response()  # the client has left; nobody reads this
        except Exception:
            visit.status = 500
            print(traceback.format_exc(), file=sys.stderr, flush=True)
            return self.refused(Refusal(500, "The local service failed: a fault of the course."))
        finally:
            self.traffic.leave(visit)

    async def _treat(self, request: web.BaseRequest, visit: Visit) -> web.StreamResponse:
        body = await read_json(request)
        settings = self.traffic.settings
        if visit.ordinal in settings.drop:
            return self._drop(request, visit)
        if visit.ordinal in settings.errors:
            status = settings.errors[visit.ordinal]
            raise Refusal(status, f"Request {visit.ordinal} was to get status {status}.")
        if self.traffic.is_full():
            raise Refusal(
                429,
                f"Rate limit reached: {settings.max_in_flight} requests are in flight already. "
                f"Please try again in {settings.retry_after:g} s.",
            )
        if self.traffic.is_over_quota():
            raise Refusal(
                429,
                f"Rate limit reached: {settings.quota} requests in {settings.quota_seconds:g} s. "
                f"Please try again in {settings.retry_after:g} s.",
            )
        self.traffic.enter(visit)
        if visit.ordinal in settings.hang:
            await self.traffic.hang()
            return self._drop(request, visit)
        if settings.latency:
            await asyncio.sleep(settings.latency)
        return await self.answer(request, body, visit)

    def _drop(self, request: web.BaseRequest, visit: Visit) -> web.Response:
        visit.status = DROPPED
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    def refused(self, refusal: Refusal) -> web.Response:
        """Answer with an error; a 429 says when to come back."""
        headers = {}
        if refusal.status == 429:
            seconds = self.traffic.settings.retry_after
            # The header's unit is whole seconds (RFC 9110); OpenAI adds the exact milliseconds.
            headers = {
                "Retry-After": str(math.ceil(seconds)),
                "retry-after-ms": str(round(seconds * 1000)),
            }
        return as_json(self.body_of_error(refusal), refusal.status, headers)


async def read_json(request: web.BaseRequest) -> dict[str, Any]:
    """Read a request's body.

    Returns:
        The JSON object in it.

    Raises:
        Refusal: it is no POST, too large, or no JSON object.
    """
    if request.method != "POST":
        raise Refusal(405, f"{request.path} takes POST, not {request.method}.")
    try:
        body = json.loads(await request.read())
    except web.HTTPRequestEntityTooLarge:
        raise Refusal(413, "The body is larger than 16 MB: send less at once.") from None
    except ValueError as error:
        raise Refusal(400, f"The body is not valid JSON: {error}.") from None
    if not isinstance(body, dict):
        raise Refusal(400, f"The body is a JSON {type(body).__name__}, not a JSON object.")
    return body


def as_json(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer with JSON."""
    return web.Response(
        body=json.dumps(body).encode(),
        status=status,
        headers=headers,
        content_type="application/json",
    )
