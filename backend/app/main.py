"""The ASGI application: `uvicorn app.main:app`."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property

from fastapi import FastAPI
from sqlalchemy import inspect
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from app.api.routes import include_all
from app.api.webhook import Door
from app.core.attempts import Attempts
from app.core.config import Settings, get_settings, is_truthy, running_under_pytest
from app.core.errors import install_error_handlers
from app.core.logging import RequestContextMiddleware, configure_logging
from app.core.replica import replica_of
from app.core.request_guard import RequestGuardMiddleware
from app.core.response_headers import SecurityHeadersMiddleware
from app.core.secrets import require_secrets, say_what_is_open
from app.db import SessionLocal
from app.db import http as db_http
from app.db.revisions.chain import upgrade_head
from app.roles.background import Background
from app.roles.capacity import allow_open_files
from app.services.shared.users import ensure_default_admin
from app.services.webhook.door.writer import WRITER

logger = logging.getLogger(__name__)


def _auto_migrate_wanted(settings: Settings) -> bool:
    """ST_AUTO_MIGRATE decides; unset means yes for SQLite and no for everything else."""
    wish = os.environ.get("ST_AUTO_MIGRATE", "").strip()
    return is_truthy(wish) if wish else settings.database_url.startswith("sqlite")


def _prepare_database(settings: Settings) -> None:
    """Upgrade the schema and make sure that somebody can log in.

    A failure is logged and does not keep the application from starting: it then answers what it can.
    """
    if running_under_pytest():
        return
    try:
        if _auto_migrate_wanted(settings):
            upgrade_head(settings.database_url)
    except Exception:
        logger.exception("the schema could not be upgraded at start")
    try:
        with SessionLocal() as db:
            if inspect(db.connection()).has_table("users"):
                ensure_default_admin(db, settings)
    except Exception:
        logger.exception("the default administrator could not be checked at start")


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    allow_open_files()
    await run_in_threadpool(_prepare_database, get_settings())
    background = Background(get_settings().role, SessionLocal, get_settings())
    await run_in_threadpool(background.start)
    app.state.replica = replica_of(get_settings(), SessionLocal)
    if app.state.replica is not None:
        app.state.replica.start()
    yield
    if app.state.replica is not None:
        await run_in_threadpool(app.state.replica.stop)
    await run_in_threadpool(WRITER.stop)
    await run_in_threadpool(background.stop)


class Application(FastAPI):
    """The application behind the door of the webhook."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if Door.takes(scope):
            await self.door(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    @cached_property
    def door(self) -> Door:
        """What deliveries meet first."""
        return Door(self, super().__call__)


def create_app() -> FastAPI:
    """Build the application from the settings in force; SystemExit when secrets are missing."""
    settings = get_settings()
    configure_logging()
    require_secrets(settings)
    say_what_is_open(settings)
    # Outside of development nobody gets to see a stack trace.
    debug = settings.debug and settings.in_development
    app = Application(title=settings.app_name, version=settings.version, debug=debug, lifespan=_lifespan)
    app.state.attempts = Attempts()

    @app.get("/")
    def root() -> dict[str, str]:
        """What is running here."""
        return {"message": f"{settings.app_name} is running", "environment": settings.environment}

    @app.get("/health")
    def health() -> dict[str, str]:
        """That the process answers; `/health/ready` tells whether it can work."""
        return {"status": "ok", "service": settings.app_name, "environment": settings.environment}

    include_all(app)
    install_error_handlers(app)
    # The last one added runs first: a refused request still gets its correlation id and log line.
    app.add_middleware(RequestGuardMiddleware)
    app.add_middleware(RequestContextMiddleware)
    app.add_middleware(SecurityHeadersMiddleware, https=not settings.in_development)
    db_http.install(app)
    return app


app = create_app()
