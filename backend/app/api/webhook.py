"""Where TradingView delivers its alerts."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from pydantic import Field

from app.api.webhook_document import ANSWERS, DELIVERIES
from app.core.logging import correlation_id_of
from app.core.market_hours import is_market_open_now
from app.core.sessions import AppSettings, Db
from app.schemas.webhook import TradingViewWebhookPayload
from app.services.orders import create_order_from_alert
from app.services.webhook.intake import take_delivery
from app.services.webhook.receive import Arrival

router = APIRouter(prefix="/webhook", tags=["webhook"])

WebhookBody = Annotated[
    TradingViewWebhookPayload | dict[str, Any] | str,
    Field(union_mode="left_to_right"),
    Body(openapi_examples=DELIVERIES),
]


@router.get("")
def describe_webhook() -> dict[str, str]:
    """Where to send alerts to."""
    return {
        "message": "SigmaTrader webhook endpoint",
        "tradingview": "POST /webhook/tradingview",
        "compat": "POST /webhook",
    }


# The answer is a plain dict: there is nothing to check in it, and checking would take a thread.
@router.post("/tradingview", status_code=201, responses=ANSWERS, response_model=None)
@router.post("", status_code=201, include_in_schema=False, response_model=None)
def tradingview_webhook(
    payload: WebhookBody, request: Request, db: Db, settings: AppSettings
) -> dict[str, Any]:
    """Take an alert: store it with its order, once, and dispatch the order in AUTO mode."""
    arrival = Arrival(
        content_type=request.headers.get("content-type", ""),
        header_secret=request.headers.get("x-sigmatrader-secret", ""),
        correlation_id=correlation_id_of(request),
    )
    # Both functions are looked up here at each call: code written against the application replaces them.
    return take_delivery(
        db,
        settings,
        payload,
        arrival,
        create_order=create_order_from_alert,
        market_is_open=is_market_open_now,
    )
