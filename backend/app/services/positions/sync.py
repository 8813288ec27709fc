"""Takes over a broker's positions: the cache that limits and SELL alerts read, and the day's snapshots."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import delete
from sqlalchemy.orm import Session

from app.core.time_utils import to_ist_naive, utc_now
from app.models import Position, PositionSnapshot
from app.services.brokers.clients import BrokerClient
from app.services.shared.bulk import changed_rows

_BROKER: Final = "zerodha"
_SNAPSHOT_FIGURES: Final = (
    "last_price", "close_price", "value", "m2m", "unrealised", "realised", "buy_qty", "buy_avg_price",
    "sell_qty", "sell_avg_price", "day_buy_qty", "day_buy_avg_price", "day_sell_qty",
    "day_sell_avg_price", "holding_qty",
)  # fmt: skip


def sync_positions_from_zerodha(db: Session, client: BrokerClient) -> int:
    """Replace the stored positions and today's snapshots by the broker's; commits, returns the count.

    The session's transaction ends before the broker is asked.
    """
    db.commit()
    rows = client.list_positions()
    now = utc_now()
    today = to_ist_naive(now).date()
    changed_rows(db, delete(Position).where(Position.broker_name == _BROKER))
    same_day = (PositionSnapshot.broker_name == _BROKER, PositionSnapshot.as_of_date == today)
    changed_rows(db, delete(PositionSnapshot).where(*same_day))
    for row in rows:
        shared = _shared_values(row)
        db.add(Position(**shared, last_updated=now))
        figures = {name: _number(row.get(name)) for name in _SNAPSHOT_FIGURES}
        db.add(PositionSnapshot(**shared, as_of_date=today, captured_at=now, **figures))
    db.commit()
    return len(rows)


def _shared_values(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "broker_name": _BROKER,
        "symbol": str(row["symbol"]),
        "exchange": str(row.get("exchange") or "NSE"),
        "product": str(row.get("product") or "CNC"),
        "qty": _number(row.get("qty")) or 0.0,
        "avg_price": _number(row.get("avg_price")) or 0.0,
        "pnl": _number(row.get("pnl")) or 0.0,
    }


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
