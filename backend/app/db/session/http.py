"""What the session layer adds to an HTTP application, in one call: `install(app)`.

- a transaction that could not be served during a switch answers 503 with Retry-After (never 504, which
  TradingView does not send again);
- GET /health/ready says whether this process can work, and in what state the pair is;
- GET /metrics in Prometheus' format;
- the background thread starts and stops with the application.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest, multiprocess
from sqlalchemy import text
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from app.db.common import metrics_files
from app.db.common.errors import SwitchError
from app.db.common.urls import Side
from app.db.session.at_start import switch_at_start
from app.db.session.runtime import Runtime, runtime

log = logging.getLogger("sigma.db")
RETRY_AFTER_S = "2"


def install(app: FastAPI) -> None:
    """Register handlers, routes and the background thread on an application."""
    app.add_exception_handler(SwitchError, _unavailable)
    app.add_api_route("/health/ready", ready, methods=["GET"], include_in_schema=False)
    app.add_api_route("/metrics", metrics, methods=["GET"], include_in_schema=False)
    app.router.lifespan_context = _with_background(app.router.lifespan_context)


def _with_background(inner: Any) -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        metrics_files.begin()
        current = runtime()
        await run_in_threadpool(switch_at_start, current)
        await run_in_threadpool(current.start)
        try:
            async with inner(app) as state:
                yield state
        finally:
            await run_in_threadpool(current.stop)

    return lifespan


async def _unavailable(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, SwitchError)
    log.warning("request refused: %s", error)
    headers = {"Retry-After": RETRY_AFTER_S}
    return JSONResponse({"detail": error.message}, status_code=503, headers=headers)


def ready() -> JSONResponse:
    """Whether this process can serve: 200, or 503 with the reason."""
    current = runtime()
    body, ok = _single(current) if current.pair is None else _dual(current)
    return JSONResponse(body, status_code=200 if ok else 503)


def _single(current: Runtime) -> tuple[dict[str, Any], bool]:
    problem = _answers(current)
    return {"status": problem or "ready", "mode": "single", "primary": current.desired}, problem is None


def _dual(current: Runtime) -> tuple[dict[str, Any], bool]:
    control = current.gate.control()
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
    if on_sqlite and (replaced := current.gate.watch.problem()):
        return replaced
    try:
        with current.engine(current.primary()).connect() as connection:
            connection.execute(text("SELECT 1"))
    except Exception as error:  # whatever it is, it is the answer to "are you ready"
        return f"the primary does not answer: {str(error).splitlines()[0]}"
    return None


def metrics() -> Response:
    """Prometheus metrics; of all workers together when PROMETHEUS_MULTIPROC_DIR is set."""
    current = runtime()
    if current.pair is not None and current.gate.prepared:
        current.observer.look()
    registry: CollectorRegistry = REGISTRY
    if os.environ.get(metrics_files.VARIABLE):
        metrics_files.forget_the_dead()
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # the library has none
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
