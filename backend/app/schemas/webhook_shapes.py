"""Brings the shapes that TradingView alerts come in to one: rules applied in order to the root object.

Senders write the alert text by hand, so the same order arrives nested, flat, in camel case, with a
ticker instead of a symbol, or as meta/signal/hints. "Absent" means that the member is missing, not null.
The object is changed in place: what was added is visible to the caller, also when the schema then fails.
"""

from __future__ import annotations

import re
from typing import Any, Final

PAYLOAD_FORMAT_V1: Final = "TRADINGVIEW_META_SIGNAL_HINTS_V1"

# Digits that commas group: by thousands, or as in India by hundreds beyond the first thousand. A zero before a comma
# groups nothing: `0,500` may mean a half.
BY_THOUSANDS: Final = r"[1-9][0-9]{0,2}(?:,[0-9]{3})+"
_GROUPED = re.compile(
    rf"[-+]?(?:{BY_THOUSANDS}|[1-9][0-9]?(?:,[0-9]{{2}})+,[0-9]{{3}})(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?"
)

_FLAT_MARKERS: Final = (
    "order_action", "orderAction", "order_id", "quantity", "order_contracts", "price", "order_price",
    "product", "trade_type", "comment", "order_comment", "alert_message", "order_alert_message",
)  # fmt: skip
_DELIVERY: Final = frozenset({"cash_and_carry", "cnc", "delivery"})
_INTRADAY: Final = frozenset({"intraday", "mis"})

Json = dict[str, Any]


def normalise_payload(root: Json) -> Json:
    """Apply every rule to the root object, in place, and return it."""
    _from_meta_and_signal(root)
    _first_platform(root)
    if "trade_details" not in root and "tradeDetails" in root:
        root["trade_details"] = root["tradeDetails"]
    if "bar_time" not in root and "timestamp" in root:
        root["bar_time"] = root["timestamp"]
    _from_flat_members(root)
    _symbol_from_ticker(root)
    if "strategy_name" not in root and "strategy" in root:
        root["strategy_name"] = root["strategy"]
    return root


def normalise_trade_details(details: Json) -> Json:
    """The order part with aliases resolved, number texts cleaned and the product derived; a new object."""
    result = dict(details)
    for member, alias in (("quantity", "order_contracts"), ("price", "order_price")):
        if member not in result and alias in result:
            result[member] = result[alias]
        if isinstance(result.get(member), (str, bool)):  # true is no number, and its text is refused
            result[member] = _plain_number(str(result[member]).strip())
    if result.get("product") is None:
        result["product"] = _product_of(result.get("trade_type"))
    for member in ("comment", "alert_message"):
        if member not in result and f"order_{member}" in result:
            result[member] = result[f"order_{member}"]
    return result


def _plain_number(text: str) -> str | None:
    """A number's text without the commas that group its digits; None when it is blank.

    Any other comma stays, so that the text is refused: `1,5` may mean one and a half.
    """
    return (text.replace(",", "") if _GROUPED.fullmatch(text) else text) or None


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _fill(root: Json, member: str, value: Any) -> None:
    if member not in root and value is not None:
        root[member] = value


def _from_meta_and_signal(root: Json) -> None:
    if "meta" not in root or "signal" not in root:
        return
    meta, signal, hints = _object(root["meta"]), _object(root["signal"]), _object(root.get("hints"))
    root.setdefault("payload_format", PAYLOAD_FORMAT_V1)
    for member in ("secret", "platform"):
        _fill(root, member, meta.get(member))
    for member in ("strategy_id", "symbol", "exchange", "order_id"):
        _fill(root, member, signal.get(member))
    _fill(root, "interval", signal.get("timeframe"))
    _fill(root, "bar_time", signal.get("timestamp"))
    root.setdefault("strategy_name", signal.get("strategy_name") or signal.get("strategy_id"))
    hint = signal.get("product_hint")
    _fill(root, "product_hint", hints.get("product_hint") if hint is None else hint)
    order = {"order_action": signal.get("side"), "price": signal.get("price"), "quantity": None}
    root.setdefault("trade_details", order)


def _first_platform(root: Json) -> None:
    platform = root.get("platform")
    if isinstance(platform, list) and platform:
        root["platform"] = str(platform[0])


def _from_flat_members(root: Json) -> None:
    if "trade_details" in root or not any(marker in root for marker in _FLAT_MARKERS):
        return

    def first(*names: str) -> Any:
        return next((root[name] for name in names if root.get(name) is not None), None)

    root["trade_details"] = {
        "order_action": first("order_action", "orderAction"),
        "quantity": first("quantity", "order_contracts"),
        "price": first("price", "order_price"),
        "product": root.get("product"),
        "trade_type": root.get("trade_type"),
        "comment": first("comment", "order_comment"),
        "alert_message": first("alert_message", "order_alert_message"),
    }


def _symbol_from_ticker(root: Json) -> None:
    ticker = root.get("ticker")
    if "symbol" in root or ticker is None:
        return
    exchange = root.get("exchange") or root.get("Exchange")
    root["symbol"] = f"{exchange}:{ticker}" if exchange else ticker


def _product_of(trade_type: Any) -> str | None:
    kind = trade_type.strip().lower() if isinstance(trade_type, str) else ""
    if kind in _DELIVERY:
        return "CNC"
    return "MIS" if kind in _INTRADAY else None
