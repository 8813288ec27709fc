"""The way of a delivery through its stages: receive, look up, decide, store, dispatch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fastapi import HTTPException
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.time_utils import utc_now
from app.models import Order
from app.services.positions.sell_qty import resolve_tradingview_sell_qty
from app.services.webhook.decide import Signal, decide, with_held
from app.services.webhook.dispatch import accepted, dispatch_auto
from app.services.webhook.lookup import Duplicate, find_earlier, look_up
from app.services.webhook.receive import Arrival, Body, Delivery, Ended, receive
from app.services.webhook.store import record_event, store_signal


def take_delivery(
    db: Session,
    settings: Settings,
    body: Body | str,
    arrival: Arrival,
    *,
    create_order: Callable[..., Order],
    market_is_open: Callable[[], bool],
) -> dict[str, Any]:
    """Take an alert: store it with its order, once, and dispatch the order in AUTO mode; returns the answer.

    HTTPException with status and detail for a refused delivery, and for an order whose dispatch failed.
    """
    delivery = receive(body, arrival)
    if isinstance(delivery, Ended):
        return _end(db, delivery, arrival)
    signal = decide(settings, delivery, look_up(db, settings, delivery.asked))
    if isinstance(signal, Ended):
        return _end(db, signal, arrival)
    signal = _complete(db, settings, delivery, signal)
    outcome = store_signal(db, signal, create_order)
    if isinstance(outcome, Duplicate):
        return {"status": "deduped", "order_id": outcome.order_id, "alert_id": outcome.alert_id}
    if signal.mode != "AUTO":
        return accepted(outcome)
    return dispatch_auto(db, settings, signal, outcome, market_is_open=market_is_open)


def _end(db: Session, ended: Ended, arrival: Arrival) -> dict[str, Any]:
    """Store the event of a delivery that leads to no order, on its own, and give its answer."""
    if ended.event is not None:
        record_event(db, ended.event, arrival.correlation_id)
    if isinstance(ended.answer, str):
        raise HTTPException(ended.status, ended.answer)
    return ended.answer


def _complete(db: Session, settings: Settings, delivery: Delivery, signal: Signal) -> Signal:
    """Add what could not be looked up before the signal was known: the owner of its key, what is held."""
    if delivery.asked.key is None:
        signal = replace(signal, earlier=find_earlier(db, signal.key))
    alert = signal.normalized
    if alert.side != "SELL" or signal.is_copy_at(utc_now()):
        return signal
    held = resolve_tradingview_sell_qty(
        db,
        settings,
        user=signal.user,
        broker_name=signal.routing.broker_name,
        exchange=alert.broker_exchange,
        symbol=alert.broker_symbol,
        desired_product=alert.product,
        payload_qty=alert.qty or 0.0,
    )
    return with_held(signal, held)
