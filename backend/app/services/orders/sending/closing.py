"""The event that ends a signal: its order is stored, or with its broker.

It is stored with what it tells of, in one transaction. For a MANUAL order that is the order, for an AUTO order the
broker's answer or the simulation, whoever stores that: the dispatch, a person, or the look for orders of unknown outcome.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Alert, Order
from app.schemas.webhook import TradingViewWebhookPayload
from app.services.shared.bulk import Row
from app.services.shared.system_events import event_row

CLOSING: Final = ("Alert ingested and order created", "INFO", "alert")


def closing_details(
    *, alert_id: int | None, order_id: int, symbol: str, action: str, strategy: str | None, mode: str
) -> dict[str, Any]:
    """What the event says. `strategy`: the name under which the alert looks for it."""
    return {
        "alert_id": alert_id, "order_id": order_id, "symbol": symbol, "action": action, "strategy": strategy, "mode": mode,
    }  # fmt: skip


def closing_row(details: dict[str, Any], correlation_id: str | None) -> Row:
    """The row of the event."""
    message, level, category = CLOSING
    return event_row(level, category, message, correlation_id, details)


def closing_rows(db: Session, order: Order, correlation_id: str | None) -> list[Row]:
    """The row of the event for an AUTO order of an alert; none for an order that somebody has entered."""
    if order.mode != "AUTO" or order.alert_id is None:
        return []
    details = closing_details(
        alert_id=order.alert_id,
        order_id=order.id,
        symbol=order.symbol,
        action=order.side,
        strategy=_strategy_of(db, order.alert_id),
        mode=order.mode,
    )
    return [closing_row(details, correlation_id)]


def _strategy_of(db: Session, alert_id: int) -> str | None:
    text = db.scalar(select(Alert.raw_payload).where(Alert.id == alert_id))
    try:
        return TradingViewWebhookPayload.model_validate_json(text or "").strategy_key
    except ValidationError:
        return None  # an earlier release has stored the alert in another form
