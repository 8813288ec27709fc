"""An alert as a strategy raises it, and what a way to write it down has to leave in the database.

A `Signal` is one alert. A `Shape` writes it down in one of the forms that the webhook accepts, or has to
refuse, and says what the alert and the order rows must then hold. Every signal carries a unique marker as
its order id, so that its rows can be found again on either database.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

JSON_TYPE = "application/json"
TEXT_TYPE = "text/plain; charset=utf-8"

Json = dict[str, Any]


@dataclass(frozen=True)
class Signal:
    """One alert. Quantity in units, price in rupees (None: at market), `bar_time` in UTC."""

    marker: str
    user: str
    symbol: str
    exchange: str
    side: str
    quantity: int
    price: float | None
    bar_time: datetime
    comment: str


@dataclass(frozen=True)
class Request:
    """What goes over the wire to POST /webhook/tradingview."""

    body: bytes
    content_type: str = JSON_TYPE
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Shape:
    """One way to write an alert down.

    `weight`: its share among the deliveries; `status`: what the webhook answers; `stored`: whether an
    alert and an order must exist afterwards; `alert` and `order`: what they hold beyond the common
    columns, given the signal.
    """

    name: str
    weight: float
    write: Callable[[Signal, str], Request]
    alert: Callable[[Signal], Json] = lambda signal: {}
    order: Callable[[Signal], Json] = lambda signal: {}
    status: int = 201
    stored: bool = True

    def expected(self, signal: Signal) -> dict[str, Json] | None:
        """Columns of the alert row and the order row, None when there must be neither."""
        if not self.stored:
            return None
        alert: Json = {
            "symbol": f"{signal.exchange}:{signal.symbol}",
            "exchange": signal.exchange,
            "action": signal.side,
            "qty": float(signal.quantity),
            "price": signal.price,
            "reason": signal.comment,
            "source": "TRADINGVIEW",
        } | self.alert(signal)
        order: Json = {
            "symbol": alert["symbol"],
            "exchange": alert["exchange"],
            "side": signal.side,
            "qty": alert["qty"],
            "price": tick(alert["price"]),
            "order_type": "MARKET" if alert["price"] is None else "LIMIT",
            "product": "CNC",
            "status": "WAITING",
            "mode": "MANUAL",
        } | self.order(signal)
        return {"alert": alert, "order": order}


def tick(price: float | None) -> float | None:
    """A price to the nearest 0.05, ties away from zero."""
    if price is None:
        return None
    steps = (Decimal(repr(price)) * 20).quantize(Decimal(1), ROUND_HALF_UP)
    return float(steps / 20)
