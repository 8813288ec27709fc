"""Rows for the tests of retention: alerts with orders in every state, firings, events, candles."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from app.models import Alert, AlertDefinition, AlertEvent, Candle, Order, SystemEvent, User

NOW = datetime(2026, 11, 28, 4, 0, tzinfo=UTC)
TABLES: tuple[Any, ...] = (Alert, AlertEvent, SystemEvent, Candle)


def days_ago(days: float) -> datetime:
    """That many days before `NOW`."""
    return NOW - timedelta(days=days)


def add_user(db: Session) -> int:
    """A user; its id."""
    user = User(username="keeper", password_hash="x", role="TRADER", display_name="Keeper")
    db.add(user)
    db.flush()
    return user.id


def add_alert(
    db: Session, age_days: float, status: str | None = None, **order: Any
) -> tuple[int, int | None]:
    """An alert, with an order in the given state if there is one; the ids of both."""
    alert = Alert(
        symbol="NSE:INFY", action="BUY", qty=1.5, price=0.1 + 0.2, raw_payload='{"a": "तेजी"}',
        reason="", received_at=days_ago(age_days), bar_time=datetime(2026, 1, 2, 9, 15),
    )  # fmt: skip
    db.add(alert)
    db.flush()
    if status is None:
        return alert.id, None
    values = {"symbol": "NSE:INFY", "side": "BUY", "qty": 1.0, "status": status} | order
    made = Order(alert_id=alert.id, created_at=days_ago(age_days), updated_at=days_ago(age_days), **values)
    db.add(made)
    db.flush()
    return alert.id, made.id


def add_definition(db: Session, user_id: int) -> int:
    """An alert definition; its id."""
    made = AlertDefinition(user_id=user_id, name="d", target_kind="SYMBOL", target_ref="X", condition_dsl="1")
    db.add(made)
    db.flush()
    return made.id


def add_bars(
    db: Session, timeframe: str, newest: datetime, count: int, step: timedelta, symbol: str = "INFY"
) -> None:
    """Bars up to the newest one, which is in the exchange's wall time."""
    bar = {"symbol": symbol, "exchange": "NSE", "timeframe": timeframe}
    prices = {"open": 1.0, "high": 2.5, "low": 0.5, "close": 0.1 + 0.2, "volume": 10.0}
    rows = [{**bar, **prices, "ts": newest - number * step} for number in reversed(range(count))]
    db.execute(insert(Candle), rows)


def ids(db: Session, model: Any) -> set[int]:
    """The ids that a table holds."""
    return set(db.scalars(select(model.id)))


def count(db: Session, model: Any) -> int:
    """How many rows a table holds."""
    return db.scalar(select(func.count()).select_from(model)) or 0
