"""From a webhook payload to the values that alert and order rows are made of, and to the delivery's key."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pydantic_core import to_json

from app.config_files import load_zerodha_symbol_map
from app.core.config import Settings
from app.models import User
from app.schemas.types import plain_zero
from app.schemas.webhook import TradingViewWebhookPayload
from app.services.webhook.lookup import Recipient

DEFAULT_EXCHANGE: Final = "NSE"
MAX_CLIENT_ORDER_ID: Final = 128
REDACTED: Final = "***"
DIGEST_CHARS: Final = 16


@dataclass
class NormalizedAlert:
    """What an alert means for the broker. Quantity in units, price in rupees (None: at market)."""

    user_id: int
    broker_name: str
    strategy_name: str
    symbol_display: str
    broker_symbol: str
    broker_exchange: str
    side: str
    qty: float | None
    price: float | None
    order_type: str
    product: str
    timeframe: str | None
    bar_time: datetime | None
    reason: str | None
    raw_payload: str


def normalize_tradingview_payload_for_zerodha(
    payload: TradingViewWebhookPayload,
    user: User | Recipient,
    *,
    default_product: str = "CNC",
    text: str | None = None,
) -> NormalizedAlert:
    """Derived values of a payload; its stored text does not contain the webhook secret."""
    exchange, symbol = split_symbol(payload)
    details = payload.trade_details
    return NormalizedAlert(
        user_id=user.id,
        broker_name="zerodha",
        strategy_name=payload.strategy_key,
        symbol_display=payload.symbol,
        broker_symbol=_mapped(exchange, symbol),
        broker_exchange=exchange,
        side=details.order_action,
        qty=_number_or_none(details.quantity, missing=0.0),
        price=_number_or_none(details.price, missing=None),
        order_type="MARKET" if details.price is None else "LIMIT",
        product=(details.product or "").upper() or default_product,
        timeframe=payload.interval,
        bar_time=_wall_time(payload.bar_time),
        reason=details.comment or details.alert_message,
        raw_payload=stored_text(payload, text),
    )


def split_symbol(payload: TradingViewWebhookPayload) -> tuple[str, str]:
    """(exchange, symbol): a prefix before the first colon wins over the exchange member."""
    prefix, colon, rest = payload.symbol.partition(":")
    exchange = (prefix if colon else "") or payload.exchange or DEFAULT_EXCHANGE
    return exchange, (rest if colon else "") or payload.symbol


def stored_text(payload: TradingViewWebhookPayload, text: str | None = None) -> str:
    """The payload as compact JSON, the secret replaced by three asterisks; `text` is that JSON if it is at hand."""
    text = text or payload.model_dump_json()
    if not payload.secret:
        return text
    before = f'{{"secret":{to_json(payload.secret).decode()}'  # the first member
    return f'{{"secret":"{REDACTED}"{text[len(before) :]}'


def client_order_id(payload: TradingViewWebhookPayload, text: str | None = None) -> str:
    """The key that makes a repeated delivery recognisable, at most 128 characters."""
    return order_id_key(payload) or content_key(payload, text)


def order_id_key(payload: TradingViewWebhookPayload) -> str | None:
    """The key made of user, strategy, side, symbol, order id and bar time; None when one of the last two lacks."""
    return order_id_keys(payload)[0]


def order_id_keys(payload: TradingViewWebhookPayload) -> tuple[str, str] | tuple[None, None]:
    """The key of `order_id_key`, and that of the same signal in earlier releases; None when order id or bar time lacks.

    What a person reads in the key may be cut; the digest at its end stands for all of it. The key of earlier
    releases was the readable part alone, and may be that of other signals too.
    """
    readable = _readable(payload)
    if readable is None:
        return None, None
    parts = [
        (payload.st_user_id or "").strip(), payload.strategy_key, payload.trade_details.order_action, readable,
    ]  # fmt: skip
    digest = hashlib.sha256(to_json(parts)).hexdigest()[:DIGEST_CHARS]
    key = f"{readable[: MAX_CLIENT_ORDER_ID - DIGEST_CHARS - 1]}:{digest}"
    return key, readable[:MAX_CLIENT_ORDER_ID]


def _readable(payload: TradingViewWebhookPayload) -> str | None:
    """Symbol, order id and bar time, whatever their length; None when order id or bar time lacks."""
    order_id = (payload.order_id or "").strip()
    if not order_id or "{{" in order_id or payload.bar_time is None:
        return None
    exchange, symbol = split_symbol(payload)
    return f"TV:{exchange}:{_mapped(exchange, symbol)}:{order_id}:{payload.bar_time.isoformat()}"


def content_key(payload: TradingViewWebhookPayload, text: str | None = None) -> str:
    """The key made of everything that the payload says; `text` is its JSON if that is at hand.

    The hash runs over the payload with its secret: rows written by earlier releases were keyed like
    that, and a delivery repeated after the change of release must meet the same key.
    """
    bar_time = f"|{payload.bar_time.isoformat()}" if payload.bar_time else ""
    text = (text or payload.model_dump_json()) + bar_time
    return f"TVA:{hashlib.sha1(text.encode('utf-8'), usedforsecurity=False).hexdigest()[:20]}"


def position_symbol(payload: TradingViewWebhookPayload) -> str:
    """The broker's symbol in capitals, under which positions are kept."""
    return _mapped(*split_symbol(payload)).strip().upper()


def copies_within(payload: TradingViewWebhookPayload, settings: Settings) -> timedelta | None:
    """How long a delivery with an equal key is a copy of this one; None: for ever.

    A bar time is part of the key, so an equal key is the same signal of the same bar. Without one the key
    is nothing but the content, which a later bar may well repeat.
    """
    seconds = settings.webhook_dedupe_window_s
    return timedelta(seconds=seconds) if seconds and payload.bar_time is None else None


def _mapped(exchange: str, symbol: str) -> str:
    return load_zerodha_symbol_map().get(exchange.upper(), {}).get(symbol.upper(), symbol)


def _number_or_none(value: float | None, *, missing: float | None) -> float | None:
    """NaN is stored as NULL on both databases."""
    if value is None:
        return missing
    return None if value != value else plain_zero(value)


def _wall_time(value: datetime | None) -> datetime | None:
    """The column has no zone: the digits are kept and the offset dropped, whatever the database."""
    return None if value is None else value.replace(tzinfo=None)
