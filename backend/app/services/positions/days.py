"""The positions of past days, with the figures that are derived from a snapshot."""

from __future__ import annotations

from datetime import date
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import PositionSnapshot

# Only ASCII letters are folded, because that is what LIKE does on SQLite.
_ASCII_LOWER: Final = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def list_position_days(
    db: Session,
    *,
    broker_name: str,
    start: date | None,
    end: date | None,
    symbol: str | None,
    include_zero: bool,
) -> list[PositionSnapshot]:
    """Snapshots of the days from start to end (default: the latest day), newest day first."""
    query = select(PositionSnapshot).where(PositionSnapshot.broker_name == broker_name)
    if start is None and end is None:
        start = end = latest_day(db, broker_name)
    if start is not None:
        query = query.where(PositionSnapshot.as_of_date >= start)
    if end is not None:
        query = query.where(PositionSnapshot.as_of_date <= end)
    if symbol:
        folded = symbol.translate(_ASCII_LOWER)
        query = query.where(func.lower(PositionSnapshot.symbol).contains(folded, autoescape=True))
    if not include_zero:
        query = query.where(PositionSnapshot.qty != 0)
    return list(
        db.scalars(
            query.order_by(
                PositionSnapshot.as_of_date.desc(),
                PositionSnapshot.symbol,
                PositionSnapshot.exchange,
                PositionSnapshot.product,
                PositionSnapshot.id,
            )
        )
    )


def latest_day(db: Session, broker_name: str) -> date | None:
    """The last day with a snapshot of the broker."""
    mine = PositionSnapshot.broker_name == broker_name
    return db.scalar(select(func.max(PositionSnapshot.as_of_date)).where(mine))


def derived_figures(row: PositionSnapshot) -> dict[str, Any]:
    """Traded quantity, side of the day, realised profit and today's profit of a snapshot."""
    bought, buy_price = _leg(row.day_buy_qty, row.day_buy_avg_price, row.buy_qty, row.buy_avg_price)
    sold, sell_price = _leg(row.day_sell_qty, row.day_sell_avg_price, row.sell_qty, row.sell_avg_price)
    has_both = bought > 0 and sold > 0 and buy_price is not None and sell_price is not None
    pnl = (sell_price - buy_price) * min(bought, sold) if has_both else None  # type: ignore[operator]
    base = buy_price * min(bought, sold) if has_both and buy_price else None
    today, today_pct = _today(row)
    return {
        "remaining_qty": row.qty,
        "traded_qty": max(bought, sold),
        "order_type": _side_of_day(row.qty, bought, sold),
        "avg_buy_price": buy_price,
        "avg_sell_price": sell_price,
        "pnl_value": pnl,
        "pnl_pct": pnl / base * 100 if pnl is not None and base else None,
        "ltp": row.last_price,
        "today_pnl": today,
        "today_pnl_pct": today_pct,
    }


def _leg(
    day_qty: float | None, day_price: float | None, qty: float | None, price: float | None
) -> tuple[float, float | None]:
    """(quantity, average price) of one side: the day's figures when there was a trade that day."""
    if day_qty is not None and day_qty > 0:
        return day_qty, day_price
    return qty or 0.0, price


def _side_of_day(qty: float, bought: float, sold: float) -> str:
    if bought > 0 and sold > 0:
        return "BOTH"
    if bought > 0:
        return "BUY"
    if sold > 0:
        return "SHORT" if qty < 0 else "SELL"
    return "HOLD" if qty else "FLAT"


def _today(row: PositionSnapshot) -> tuple[float | None, float | None]:
    if row.last_price is None or not row.close_price:
        return None, None
    change = row.last_price - row.close_price
    return change * row.qty, change / row.close_price * 100
