"""What the session layer adds to an HTTP application, in one call: `install(app)`.

- a transaction that could not be served now answers 503 with Retry-After. Causes are a switch, a lock that
  others hold, or a database that is away. The answer is never 504, which TradingView does not send again;
- inside a request no wait for a database outlasts ST_REQUEST_DEADLINE_MS, counted from its arrival. Work
  outside of requests is held longer at a fence;
- GET /health/ready says whether this process can work, and in what state the pair is;
- GET /metrics in Prometheus' format;
- the background thread starts and stops with the application.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.db.common import metrics as measured
from app.db.common.deadline import requests_are_known, serving
from app.db.common.errors import RETRY_AFTER_S, SwitchError, first_line
from app.db.common.logs import logger
from app.db.common.settings import shim_settings
from app.db.common.urls import Side
from app.db.session.at_start import begin
from app.db.session.engines import is_unavailable
from app.db.session.runtime import Runtime, runtime

log = logger("sigma.db")


def install(app: FastAPI) -> None:
    """Register handlers, routes, the deadline of requests and the background thread on an application.

    The last middleware that is added sees a request first, so this call comes after all others.
    """
    requests_are_known()
    app.add_middleware(DeadlineMiddleware)
    app.add_exception_handler(SwitchError, _refused)
    for kind in (DBAPIError, PoolTimeout):
        if kind not in app.exception_handlers:  # the application's own answer stands
            app.add_exception_handler(kind, _database_error)
    app.add_api_route("/health/ready", ready, methods=["GET"], include_in_schema=False)
    app.add_api_route("/metrics", metrics, methods=["GET"], include_in_schema=False)
    app.router.lifespan_context = _with_background(app.router.lifespan_context)


class DeadlineMiddleware:
    """ASGI middleware: what a request may wait for ends at its deadline; what follows its answer may wait."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with serving(shim_settings().request_deadline_ms) as request:

            async def sent(message: Message) -> None:
                await send(message)
                if message["type"] == "http.response.body" and not message.get("more_body"):
                    request.answered = True  # background tasks run in the same call

            await self._app(scope, receive, sent)


def _with_background(inner: Any) -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        measured.begin()
        current = runtime()
        await run_in_threadpool(begin, current)
        try:
            async with inner(app) as state:
                yield state
        finally:
            await run_in_threadpool(current.stop)

    return lifespan


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, SwitchError)
    log.warning("request refused: %s", error)
    return _come_back(error.message)


async def _database_error(request: Request, error: Exception) -> JSONResponse:
    """503 where the database could not serve now; any other error is the application's, as without this."""
    if not is_unavailable(error):
        raise error
    reason = getattr(error, "orig", None) or error  # without the statement and its parameters
    log.warning("the database could not serve %s %s: %s", request.method, request.url.path, reason)
    return _come_back("The database cannot serve the request at the moment.")


def _come_back(detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status_code=503, headers={"Retry-After": str(RETRY_AFTER_S)})


def ready() -> JSONResponse:
    """Whether this process can serve: 200, or 503 with the reason."""
    current = runtime()
    body, ok = _single(current) if current.pair is None else _dual(current)
    return JSONResponse(body, status_code=200 if ok else 503)


def _single(current: Runtime) -> tuple[dict[str, Any], bool]:
    problem = _answers(current)
    return {"status": problem or "ready", "mode": "single", "primary": current.desired}, problem is None


def _dual(current: Runtime) -> tuple[dict[str, Any], bool]:
    control = current.router.control_of_somebody()
    health = current.replicator.health()
    problem = _answers(current)
    seen = current.observer.look() if control else None
    lag = seen.lag.seconds if seen and seen.lag else health.lag_seconds
    body: dict[str, Any] = {
        "status": problem or "ready",
        "mode": "dual",
        "primary": current.primary(),
        "desired": current.desired,
        "following": control is not None and control.primary is not current.desired,
        "epoch": control.epoch if control else None,
        "phase": health.phase if control else "unprepared",
        "dual_write": current.settings.dual_write,
        "degraded": health.degraded,
        "switching": control is not None and control.attempt is not None,
        "lag_seconds": round(lag, 3),
        "apply": seen.state if seen else None,
        "blocks": list(seen.blocks) if seen else [],
        "apply_error": health.error,
    }
    return body, problem is None


def _answers(current: Runtime) -> str | None:
    """None if the primary answers a trivial query, else why not."""
    on_sqlite = current.pair is not None and current.primary() is Side.SQLITE
    if on_sqlite and (replaced := current.router.watch.problem()):
        return replaced
    try:
        with current.engine(current.primary()).connect() as connection:
            connection.execute(text("SELECT 1"))
    except Exception as error:  # whatever it is, it is the answer to "are you ready"
        return f"the primary does not answer: {first_line(error)}"
    return None


def metrics() -> Response:
    """Prometheus metrics; of all workers together when PROMETHEUS_MULTIPROC_DIR is set."""
    runtime().observe()
    return Response(generate_latest(measured.registry()), media_type=CONTENT_TYPE_LATEST)
