"""Where TradingView delivers its alerts."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from pydantic import Field
from sqlalchemy.orm import Session

from app.api.webhook_document import ANSWERS, DELIVERIES
from app.core.config import Settings
from app.core.logging import correlation_id_of
from app.core.market_hours import is_market_open_now
from app.core.sessions import AppSettings, Db
from app.schemas.webhook import TradingViewWebhookPayload
from app.schemas.webhook_shapes import PAYLOAD_FORMAT_V1
from app.services.orders.execution import execute_stored_order
from app.services.orders.rows import create_order_from_alert
from app.services.positions.sell_qty import resolve_tradingview_sell_qty
from app.services.shared.system_events import record_system_event
from app.services.webhook.dispatch import accepted, dispatch_auto
from app.services.webhook.lookup import Asked, Duplicate, Found, Recipient, find_earlier, look_up
from app.services.webhook.normalize import (
    client_order_id,
    copies_within,
    normalize_tradingview_payload_for_zerodha,
    order_id_key,
)
from app.services.webhook.receive import (
    Arrival,
    Misfit,
    given_secret,
    is_test_message,
    platform_is_supported,
    read_body,
    refuse_schema,
    refuse_secret,
    try_payload,
)
from app.services.webhook.routing import route
from app.services.webhook.store import Delivery, store_delivery

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
    arrival = _arrival(request)
    body = read_body(db, payload, arrival)
    secret = given_secret(body, arrival)
    alert = try_payload(body, secret)
    asked = _asked(alert)
    found = look_up(db, settings, asked)
    if not found.webhook.secret_is_valid(settings, secret):
        raise refuse_secret(db, body, arrival)
    if is_test_message(body):
        return {"status": "ok"}
    if isinstance(alert, Misfit):
        raise refuse_schema(db, alert, arrival)
    if not platform_is_supported(alert):
        return {"status": "ignored", "platform": alert.platform}
    if found.user is None:
        return _ignored(db, alert, arrival)
    delivery = _delivery(db, settings, alert, asked.key, found, found.user, arrival)
    if not delivery.is_copy:
        _resolve_sell(db, settings, found.user, delivery)
    return _store_and_dispatch(db, settings, request, delivery)


def _asked(alert: TradingViewWebhookPayload | Misfit) -> Asked:
    """What the alert names, as far as it is known before its user is."""
    if isinstance(alert, Misfit):
        return Asked()
    username = _username(alert)
    if username:
        return Asked(username=username, strategy=alert.strategy_key, key=client_order_id(alert))
    return Asked(default_user=_goes_to_default(alert), strategy=alert.strategy_key, key=order_id_key(alert))


def _username(alert: TradingViewWebhookPayload) -> str:
    return (alert.st_user_id or "").strip()


def _goes_to_default(alert: TradingViewWebhookPayload) -> bool:
    return not _username(alert) and alert.payload_format == PAYLOAD_FORMAT_V1


def _delivery(
    db: Session,
    settings: Settings,
    alert: TradingViewWebhookPayload,
    asked_key: str | None,
    found: Found,
    user: Recipient,
    arrival: Arrival,
) -> Delivery:
    """What is stored for the alert; a default user's name becomes part of the payload, and so of its content."""
    is_default = _goes_to_default(alert)
    key, earlier = asked_key, found.earlier
    if is_default:
        alert.st_user_id = user.username
    if key is None:
        key = client_order_id(alert)
        earlier = find_earlier(db, key)
    routing = route(found.webhook.config_for(settings, user.id), found.strategy)
    return Delivery(
        payload=alert,
        normalized=normalize_tradingview_payload_for_zerodha(
            alert, user, default_product=routing.default_product
        ),
        routing=routing,
        key=key,
        correlation_id=arrival.correlation_id,
        earlier=earlier,
        copies_within=copies_within(alert, settings),
        default_user=user.username if is_default else None,
    )


def _arrival(request: Request) -> Arrival:
    return Arrival(
        content_type=request.headers.get("content-type", ""),
        header_secret=request.headers.get("x-sigmatrader-secret", ""),
        correlation_id=correlation_id_of(request),
    )


def _ignored(db: Session, alert: TradingViewWebhookPayload, arrival: Arrival) -> dict[str, Any]:
    """Answer and event for an alert that no user takes."""
    username = _username(alert)
    details: dict[str, Any] = {"strategy": alert.strategy_key, "platform": alert.platform}
    answer: dict[str, Any] = {"status": "ignored"}
    if username or alert.payload_format == PAYLOAD_FORMAT_V1:
        level, reason = "WARNING", "unknown_st_user_id"
        details["st_user_id"] = answer["st_user_id"] = username
    else:
        level, reason = "INFO", "missing_st_user_id"
    record_system_event(
        db,
        level=level,
        category="alert",
        message=f"Alert ignored: {reason.replace('_', ' ', 1)}",
        correlation_id=arrival.correlation_id,
        details=details,
    )
    return {**answer, "reason": reason}


def _resolve_sell(db: Session, settings: Settings, user: Recipient, delivery: Delivery) -> None:
    """Replace quantity and product of a SELL by what is held."""
    alert = delivery.normalized
    if alert.side != "SELL":
        return
    found = resolve_tradingview_sell_qty(
        db,
        settings,
        user=user,
        broker_name=delivery.routing.broker_name,
        exchange=alert.broker_exchange,
        symbol=alert.broker_symbol,
        desired_product=alert.product,
        payload_qty=alert.qty or 0.0,
    )
    note = None
    if found.reject:
        note = "ST: SELL could not be matched to holdings/positions; created as WAITING for review."
        delivery.review_note = (
            "TV SELL needs review: SigmaTrader could not find holdings/positions for this symbol "
            f"({found.note}). Edit qty/product or execute intentionally."
        )
    elif found.is_exit:
        alert.qty, alert.product, delivery.is_exit = found.qty, found.resolved_product, True
        note = f"ST: SELL qty resolved from {found.source} ({float(found.qty)})."
    if note:
        alert.reason = f"{alert.reason} | {note}" if alert.reason else note


def _store_and_dispatch(
    db: Session, settings: Settings, request: Request, delivery: Delivery
) -> dict[str, Any]:
    outcome = store_delivery(db, delivery, create_order_from_alert)
    if isinstance(outcome, Duplicate):
        return {"status": "deduped", "order_id": outcome.order_id, "alert_id": outcome.alert_id}
    if delivery.mode != "AUTO":
        return accepted(outcome)
    return dispatch_auto(
        db,
        delivery,
        outcome,
        execute=lambda order_id: execute_stored_order(db, settings, order_id, delivery.correlation_id),
        market_is_open=is_market_open_now,
    )
