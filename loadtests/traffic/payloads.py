"""Webhook deliveries in the shapes that alert authors write, and what each must leave in the database.

A `Signal` is one alert as a strategy raises it; a `Shape` writes it down in one of the forms that the
webhook accepts (or has to refuse) and says what the alert and the order rows must then hold. Every
signal carries a unique marker as its order id, so that its rows can be found again on either database.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from urllib.parse import urlencode

JSON_TYPE = "application/json"
TEXT_TYPE = "text/plain; charset=utf-8"
# None of these is held in the sample database: a SELL of a held symbol takes the held quantity instead.
SYMBOLS = (
    "SBIN", "INFY", "TCS", "HDFCBANK", "ITC", "WIPRO", "TATASTEEL", "AXISBANK", "LT", "MARUTI",
    "BHARTIARTL", "SUNPHARMA", "TITAN", "ULTRACEMCO", "ASIANPAINT", "BAJAJ-AUTO", "CIPLA", "DLF",
    "EICHERMOT", "GRASIM", "HEROMOTOCO", "JSWSTEEL", "M&M", "ONGC", "POWERGRID",
)  # fmt: skip
COMMENTS = ("breakout", "target hit", "रेज़िस्टेंस ब्रेक ✓", "stop 'n' \"go\"", "50% of range", "a\tb")
FIRST_BAR = datetime(2026, 2, 2, 3, 45, tzinfo=UTC)

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


def _base(signal: Signal, secret: str) -> Json:
    return {
        "secret": secret,
        "platform": "TRADINGVIEW",
        "st_user_id": signal.user,
        "strategy_name": "load-profile",
        "symbol": f"{signal.exchange}:{signal.symbol}",
        "exchange": signal.exchange,
        "interval": "15",
        "order_id": signal.marker,
        "bar_time": signal.bar_time.isoformat().replace("+00:00", "Z"),
    }


def _details(signal: Signal) -> Json:
    details: Json = {"order_action": signal.side, "quantity": signal.quantity, "comment": signal.comment}
    return details if signal.price is None else details | {"price": signal.price}


def _json(value: Json, content_type: str = JSON_TYPE, headers: Mapping[str, str] | None = None) -> Request:
    return Request(json.dumps(value, ensure_ascii=False).encode(), content_type, headers or {})


def _nested(signal: Signal, secret: str) -> Request:
    return _json(_base(signal, secret) | {"trade_details": _details(signal)})


def _hashed(signal: Signal, secret: str) -> Request:
    body = _base(signal, secret) | {"trade_details": _details(signal)}
    del body["bar_time"]
    return _json(body)


def _number_texts(signal: Signal, secret: str) -> Request:
    details = _details(signal) | {
        "order_action": signal.side.lower(),
        "quantity": f"{signal.quantity + 1000:,}",
    }
    return _json(_base(signal, secret) | {"trade_details": details})


def _aliases(signal: Signal, secret: str) -> Request:
    details: Json = {
        "order_action": signal.side,
        "order_contracts": str(signal.quantity),
        "trade_type": "Intraday",
        "order_comment": signal.comment,
        "order_alert_message": "the comment wins",
    }
    if signal.price is not None:
        details["order_price"] = f"{signal.price:,}"
    return _json(_base(signal, secret) | {"trade_details": details})


def _camel(signal: Signal, secret: str) -> Request:
    return _json(_base(signal, secret) | {"tradeDetails": _details(signal) | {"trade_type": "delivery"}})


def _flat(signal: Signal, secret: str) -> Request:
    return _json(_base(signal, secret) | _details(signal) | {"product": "mis"})


def _ticker(signal: Signal, secret: str) -> Request:
    body = _base(signal, secret) | {"trade_details": _details(signal), "ticker": signal.symbol}
    body["strategy"] = body.pop("strategy_name")
    del body["symbol"]
    return _json(body)


def _platform_list(signal: Signal, secret: str) -> Request:
    body = _base(signal, secret) | {"platform": ["zerodha", "tradingview"]}
    return _json(body | {"trade_details": _details(signal)})


def _meta(signal: Signal, meta: Json, headers: Mapping[str, str]) -> Request:
    told = {
        "strategy_id": "LOAD_A",
        "strategy_name": "Load A",
        "symbol": signal.symbol,
        "exchange": signal.exchange,
        "side": signal.side,
        "price": signal.price,
        "timeframe": "60",
        "timestamp": signal.bar_time.isoformat(),
        "order_id": signal.marker,
    }
    return _json({"meta": meta, "signal": told, "hints": {"note": signal.comment}}, headers=headers)


def _v1(signal: Signal, secret: str) -> Request:
    return _meta(signal, {"secret": secret, "platform": "TRADINGVIEW", "version": "1.0"}, {})


def _v1_header(signal: Signal, secret: str) -> Request:
    return _meta(signal, {"platform": "TRADINGVIEW"}, {"X-SIGMATRADER-SECRET": secret})


def _text(signal: Signal, secret: str) -> Request:
    return Request(_nested(signal, secret).body, TEXT_TYPE)


def _trailing_commas(signal: Signal, secret: str) -> Request:
    return Request(_nested(signal, secret).body[:-2] + b",},}", TEXT_TYPE)


def _pairs(signal: Signal, secret: str) -> Request:
    body = {name: value for name, value in _base(signal, secret).items() if name != "platform"}
    flat = body | {k: v for k, v in _details(signal).items() if v != ""}
    return Request(urlencode(flat).encode(), TEXT_TYPE)


def _long_interval(signal: Signal, secret: str) -> Request:
    return _json(_base(signal, secret) | {"interval": "1" * 40, "trade_details": _details(signal)})


def _wrong_secret(signal: Signal, secret: str) -> Request:
    return _nested(signal, f"not {secret}")


def _other_platform(signal: Signal, secret: str) -> Request:
    return _json(_base(signal, secret) | {"platform": "fyers", "trade_details": _details(signal)})


def _unknown_user(signal: Signal, secret: str) -> Request:
    return _json(_base(signal, secret) | {"st_user_id": "nobody here", "trade_details": _details(signal)})


def _placeholder_side(signal: Signal, secret: str) -> Request:
    details = _details(signal) | {"order_action": "{{strategy.order.action}}"}
    return _json(_base(signal, secret) | {"trade_details": details})


def _mis(signal: Signal) -> Json:
    return {"product": "MIS"}


def _v1_alert(signal: Signal) -> Json:
    return {"symbol": signal.symbol, "qty": 0.0, "reason": None}


SHAPES: tuple[Shape, ...] = (
    Shape("nested", 6, _nested),
    Shape("nested, keyed by hash", 3, _hashed),
    Shape("numbers as text", 2, _number_texts, alert=lambda s: {"qty": s.quantity + 1000.0}),
    Shape("alternate member names", 2, _aliases, order=_mis),
    Shape("camel case", 2, _camel),
    Shape("flat", 3, _flat, order=_mis),
    Shape("ticker", 2, _ticker),
    Shape("platform list", 1, _platform_list),
    Shape("meta and signal", 4, _v1, alert=_v1_alert),
    Shape("secret in the header", 2, _v1_header, alert=_v1_alert),
    Shape("text", 2, _text),
    Shape("trailing commas", 1, _trailing_commas),
    Shape("key=value", 1, _pairs),
    Shape("longer than its column", 1, _long_interval, alert=lambda s: {"interval": "1" * 40}),
    Shape("wrong secret", 0.3, _wrong_secret, status=401, stored=False),
    Shape("other platform", 0.3, _other_platform, stored=False),
    Shape("unknown user", 0.3, _unknown_user, stored=False),
    Shape("side not filled in", 0.3, _placeholder_side, status=400, stored=False),
)


def skewed(items: Sequence[Any], exponent: float) -> list[float]:
    """Cumulative weights by which early items are chosen far more often (Zipf)."""
    return list(itertools.accumulate(1 / (rank + 1) ** exponent for rank in range(len(items))))


class Signals:
    """An endless, reproducible stream of signals with their shapes.

    Args:
        run: prefix of every marker; unique per run, or rows of an earlier run would count.
        users: names of stored users; the first ones send most.
        seed: the same seed gives the same stream.
        skew: Zipf exponent of users and symbols; 0 is uniform.
        shapes: what to draw from.
    """

    def __init__(
        self,
        run: str,
        users: Sequence[str],
        *,
        seed: int,
        skew: float = 1.1,
        shapes: Sequence[Shape] = SHAPES,
    ) -> None:
        self.run = run
        self._random = random.Random(seed)
        self._users, self._user_weights = list(users), skewed(users, skew)
        self._symbol_weights = skewed(SYMBOLS, skew)
        self._shapes = list(shapes)
        self._shape_weights = list(itertools.accumulate(shape.weight for shape in shapes))
        self._numbers = itertools.count(1)

    def __iter__(self) -> Iterator[tuple[Signal, Shape]]:
        while True:
            yield self.next()

    def next(self) -> tuple[Signal, Shape]:
        """The next signal and the shape to write it in."""
        draw, number = self._random, next(self._numbers)
        (shape,) = draw.choices(self._shapes, cum_weights=self._shape_weights)
        return self._signal(draw, number), shape

    def _signal(self, draw: random.Random, number: int) -> Signal:
        (user,) = draw.choices(self._users, cum_weights=self._user_weights)
        (symbol,) = draw.choices(SYMBOLS, cum_weights=self._symbol_weights)
        return Signal(
            marker=f"{self.run}-{number}",
            user=user,
            symbol=symbol,
            exchange=draw.choice(("NSE", "NSE", "NSE", "BSE")),
            side=draw.choice(("BUY", "BUY", "SELL")),
            quantity=draw.randint(1, 900),
            price=round(draw.uniform(20, 9000), 2) if draw.random() < 0.7 else None,
            bar_time=FIRST_BAR + timedelta(minutes=15 * (number % 5000)),
            comment=draw.choice(COMMENTS),
        )
