"""The service on HTTP, as ``python -m service`` serves it.

Importing this validates the environment first and then imports CrewAI, but kicks nothing off: a
server may preload it and fork.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service import logs
from service.settings import keep_crewai_at_home, load

SETTINGS = load()
keep_crewai_at_home(SETTINGS)
logs.set_up(SETTINGS.secrets)

from service.crew import build_crew, write_report  # noqa: E402 - after the settings, on purpose
from service.desk import Desk, Full, Late  # noqa: E402
from service.jobs import Job  # noqa: E402
from service.reports import KeyTaken, Reports  # noqa: E402
from service.warm import warm_up  # noqa: E402

log = logging.getLogger("service")
COME_BACK = {"Retry-After": "2"}
MOST_BYTES = 10_000


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Be ready once the storage is there and a crew can be built; drain at the end."""
    reports = Reports(SETTINGS.service_bucket)
    await asyncio.to_thread(reports.check)
    await asyncio.to_thread(build_crew, SETTINGS)  # in the worker, after any fork
    await asyncio.to_thread(warm_up)
    desk = Desk(SETTINGS, reports, lambda job: write_report(SETTINGS, job))
    app.state.desk = desk
    log.info("ready", extra={"kickoffs": SETTINGS.service_kickoffs})
    try:
        yield
    finally:
        app.state.desk = None
        await asyncio.to_thread(desk.close)
        log.info("drained")


async def report(request: Request) -> Response:
    """POST /reports: a company in, a report out."""
    began = time.monotonic()
    try:
        job = await _read(request)
    except ValidationError as problem:
        wrong = [
            {"field": ".".join(map(str, error["loc"])), "problem": error["msg"]}
            for error in problem.errors(include_url=False, include_input=False)
        ]
        return JSONResponse({"error": "this is no job", "fields": wrong}, 422)
    try:
        answer = await request.app.state.desk.report(job)
    except KeyTaken:
        return _refuse(409, "this idempotency key belongs to another job")
    except Full:
        return _refuse(503, "every place is taken; come back later", COME_BACK)
    except Late:
        return _refuse(504, "not done in time; ask again with the same key", COME_BACK)
    except Exception:
        log.exception("failed", extra={"job": job.name[:12]})
        return _refuse(502, "the report could not be written; ask again with the same key")
    seconds = round(time.monotonic() - began, 3)
    log.info("done", extra={"job": job.name[:12], "company": job.company, "seconds": seconds})
    return JSONResponse(answer.model_dump())


async def live(_request: Request) -> Response:
    """GET /live: the process answers; restart it if it does not."""
    return JSONResponse({"live": True})


async def ready(request: Request) -> Response:
    """GET /ready: it can take customers; send it none if not."""
    is_open = getattr(request.app.state, "desk", None) is not None
    return JSONResponse({"ready": is_open}, 200 if is_open else 503)


async def _read(request: Request) -> Job:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            break  # too long to be a job: pydantic refuses the torn text
    return Job.model_validate_json(body)


def _refuse(status: int, why: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": why}, status, headers)


app = Starlette(
    routes=[
        Route("/reports", report, methods=["POST"]),
        Route("/live", live),
        Route("/ready", ready),
    ],
    lifespan=lifespan,
)
