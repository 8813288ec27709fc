"""Where TradingView delivers its alerts."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from pydantic import Field
from sqlalchemy.orm import Session

from app.api import orders as orders_api
from app.api.webhook_document import ANSWERS, DELIVERIES
from app.core.config import Settings
from app.core.logging import correlation_id_of
from app.core.market_hours import is_market_open_now
from app.core.sessions import AppSettings, Db
from app.models import Strategy, User
from app.schemas.webhook import TradingViewWebhookPayload
from app.schemas.webhook_shapes import PAYLOAD_FORMAT_V1
from app.services.orders import create_order_from_alert
from app.services.system_events import record_system_event
from app.services.tradingview_sell_qty import resolve_tradingview_sell_qty
from app.services.tradingview_zerodha_adapter import (
    client_order_id,
    copies_within,
    normalize_tradingview_payload_for_zerodha,
)
from app.services.webhook_dispatch import accepted, dispatch_auto
from app.services.webhook_ingest import Delivery, Duplicate, store_delivery
from app.services.webhook_receive import (
    Arrival,
    checked_payload,
    given_secret,
    is_test_message,
    platform_is_supported,
    read_body,
    refuse_secret,
)
from app.services.webhook_routing import Routing, find_user_and_strategy, load_webhook_settings, route

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


@router.post("/tradingview", status_code=201, responses=ANSWERS)
@router.post("", status_code=201, include_in_schema=False)
def tradingview_webhook(
    payload: WebhookBody, request: Request, db: Db, settings: AppSettings
) -> dict[str, Any]:
    """Take an alert: store it with its order, once, and dispatch the order in AUTO mode."""
    arrival = _arrival(request)
    body = read_body(db, payload, arrival)
    stored_settings = load_webhook_settings(db)
    secret = given_secret(body, arrival)
    if not stored_settings.secret_is_valid(settings, secret):
        raise refuse_secret(db, body, arrival)
    if is_test_message(body):
        return {"status": "ok"}
    alert = checked_payload(db, body, arrival, secret)
    if not platform_is_supported(alert):
        return {"status": "ignored", "platform": alert.platform}
    user, strategy, is_default = _user_and_strategy(db, settings, alert)
    if user is None:
        return _ignored(db, alert, arrival)
    config = stored_settings.config_for(settings, user.id)
    delivery = _delivery(alert, user, route(config, strategy), arrival, is_default)
    delivery.copies_within = copies_within(alert, settings)
    _resolve_sell(db, settings, user, delivery)
    return _store_and_dispatch(db, settings, request, delivery)


def _delivery(
    alert: TradingViewWebhookPayload, user: User, routing: Routing, arrival: Arrival, is_default: bool
) -> Delivery:
    """What is stored for the alert; a default user's name becomes part of the payload."""
    if is_default:
        alert.st_user_id = user.username
    normalized = normalize_tradingview_payload_for_zerodha(
        alert, user, default_product=routing.default_product
    )
    return Delivery(
        payload=alert,
        normalized=normalized,
        routing=routing,
        key=client_order_id(alert, normalized),
        correlation_id=arrival.correlation_id,
        default_user=user.username if is_default else None,
    )


def _arrival(request: Request) -> Arrival:
    return Arrival(
        content_type=request.headers.get("content-type", ""),
        header_secret=request.headers.get("x-sigmatrader-secret", ""),
        correlation_id=correlation_id_of(request),
    )


def _user_and_strategy(
    db: Session, settings: Settings, alert: TradingViewWebhookPayload
) -> tuple[User | None, Strategy | None, bool]:
    """(user, strategy, whether the user is the default one)."""
    username = (alert.st_user_id or "").strip()
    is_default = not username and alert.payload_format == PAYLOAD_FORMAT_V1
    if not username and not is_default:
        return None, None, False
    user, strategy = find_user_and_strategy(
        db, settings, username=username or None, strategy_key=alert.strategy_key
    )
    return user, strategy, is_default


def _ignored(db: Session, alert: TradingViewWebhookPayload, arrival: Arrival) -> dict[str, Any]:
    """Answer and event for an alert that no user takes."""
    username = (alert.st_user_id or "").strip()
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


def _resolve_sell(db: Session, settings: Settings, user: User, delivery: Delivery) -> None:
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
        execute=lambda order_id: orders_api.execute_order(order_id, request, db, settings),
        market_is_open=is_market_open_now,
    )
