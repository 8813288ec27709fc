"""What the OpenAPI document says about a delivery: the shapes that alerts come in, and the answers."""

from __future__ import annotations

from typing import Any, Final

from fastapi.openapi.models import Example

_NESTED: Final[dict[str, Any]] = {
    "secret": "your webhook secret",
    "platform": "TRADINGVIEW",
    "st_user_id": "trader1",
    "strategy_name": "breakout-15m",
    "symbol": "NSE:SBIN",
    "interval": "15",
    "order_id": "Long-1",
    "bar_time": "2026-01-27T05:45:00Z",
    "trade_details": {"order_action": "BUY", "quantity": 10, "price": 812.35, "product": "CNC"},
}
DELIVERIES: Final[dict[str, Example]] = {
    "nested": Example(
        summary="An order in trade_details",
        description="With `order_id` and `bar_time` a copy is recognised whenever it arrives.",
        value=_NESTED,
    ),
    "meta, signal, hints": Example(
        summary="The form that the alert builder makes",
        description="Without a user it goes to the default user.",
        value={
            "meta": {"secret": "your webhook secret", "platform": "TRADINGVIEW", "version": "1.0"},
            "signal": {
                "strategy_id": "SWING_A", "symbol": "TATASTEEL", "exchange": "NSE", "side": "BUY", "price": 151.4,
                "timeframe": "60", "timestamp": "2026-01-27T05:45:00Z", "order_id": "Long-1",
            },
            "hints": {"note": "weekly"},
        },
    ),
    "flat": Example(
        summary="Everything at the top",
        description="Without a bar time an equal delivery counts as a copy for ST_WEBHOOK_DEDUPE_WINDOW_S seconds.",
        value={
            "secret": "your webhook secret", "st_user_id": "trader1", "strategy": "breakout", "ticker": "INFY",
            "exchange": "NSE", "order_action": "sell", "quantity": "1,000", "trade_type": "intraday",
        },
    ),
    "text": Example(
        summary="A text body",
        description="Sent as text/plain; trailing commas and thousands separators are repaired.",
        value='{"secret": "...", "st_user_id": "trader1", "strategy_name": "s", "symbol": "TCS", "order_action": "BUY",}',
    ),
    "test": Example(
        summary="Is the connection there?",
        description="Answered with ok; nothing is stored.",
        value={"secret": "your webhook secret", "test": "tradingview"},
    ),
}  # fmt: skip


def _answer(description: str, **examples: Any) -> dict[str, Any]:
    values = {name: {"value": value} for name, value in examples.items()}
    return {"description": description, "content": {"application/json": {"examples": values}}}


ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    201: _answer(
        "Taken, or nothing to do; `status` says which.",
        accepted={"id": 7, "alert_id": 7, "order_id": 9, "status": "accepted"},
        deduped={"status": "deduped", "order_id": 9, "alert_id": 7},
        waiting={
            "id": 7, "alert_id": 7, "order_id": 10, "original_order_id": 9, "status": "accepted",
            "dispatch": "WAITING",
        },
        ignored={"status": "ignored", "reason": "missing_st_user_id"},
        test={"status": "ok"},
    ),
    400: _answer(
        "The delivery makes no alert, or its AUTO order was refused.",
        schema={"detail": "Invalid TradingView payload. Missing required fields or invalid schema."},
        body={"detail": "Invalid TradingView payload. Body must be valid JSON."},
    ),
    401: _answer("Wrong secret.", secret={"detail": "Invalid webhook secret."}),
    413: _answer("The body is larger than 1 MiB.", large={"detail": "Request body is larger than 1048576 bytes."}),
    502: _answer("The broker refused an AUTO order.", broker={"detail": "Zerodha order placement failed: ..."}),
    503: _answer(
        "The database cannot take it now; send it again after `Retry-After` seconds.",
        busy={"detail": "The database cannot serve the request at the moment."},
    ),
}  # fmt: skip
# The route declares no model of its answer, so the document does not know by itself that it is an object.
ANSWERS[201]["content"]["application/json"]["schema"] = {"type": "object", "additionalProperties": True}
