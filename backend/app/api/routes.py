"""All routes with their gates: `OPEN` ones check their callers themselves."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from app.api import (
    auth,
    brokers,
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
)


def all_routes() -> APIRouter:
    """One router that holds every route of the application."""
    routes = APIRouter()
    for router in OPEN:
        routes.include_router(router)
    for router in GATED:
        routes.include_router(router, dependencies=[Depends(require_admin)])
    return routes
