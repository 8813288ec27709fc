"""All routes with their gates: `OPEN` ones check their callers themselves."""

from __future__ import annotations

from fastapi import Depends, FastAPI

from app.api import (
    auth,
    brokers,
    jobs,
    market,
    orders,
    paper,
    positions,
    risk_settings,
    strategies,
    system_events,
    tv_alerts,
    webhook,
    webhook_settings,
)
from app.core.security import require_admin

OPEN = (webhook.router, auth.router, paper.router)
GATED = (
    tv_alerts.router,
    orders.router,
    strategies.router,
    risk_settings.router,
    positions.router,
    system_events.router,
    brokers.router,
    webhook_settings.router,
    market.router,
    jobs.router,
)


def include_all(app: FastAPI) -> None:
    """Add every route, each router by itself: a request walks through all that are nested around its own."""
    for router in OPEN:
        app.include_router(router)
    for router in GATED:
        app.include_router(router, dependencies=[Depends(require_admin)])
