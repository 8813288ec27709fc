"""Webhook deliveries in the shapes that alert authors write, one function for each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import urlencode

from loadtests.traffic.shapes import JSON_TYPE, TEXT_TYPE, Json, Request, Shape, Signal


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
