"""All routes with their gates: the admin gate stands before everything but the webhook and the log-in."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from app.api import orders, tv_alerts, webhook
from app.core.security import require_admin

GATED = (tv_alerts.router, orders.router)


def all_routes() -> APIRouter:
    """One router that holds every route of the application."""
    routes = APIRouter()
    routes.include_router(webhook.router)
    for router in GATED:
        routes.include_router(router, dependencies=[Depends(require_admin)])
    return routes
