"""A SELL alert means "get out": its quantity comes from what is held, not from the alert.

Cached positions are asked first, then the broker's holdings and positions. When the broker answers and
holds nothing, the order is kept for review; when no broker can be asked, the alert's quantity stands.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from fastapi import HTTPException
from sqlalchemy import bindparam, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.models import Position
from app.services.brokers.clients import BrokerClient
from app.services.brokers.outside import OUTSIDE

logger = logging.getLogger(__name__)
NOT_FOUND_NOTE: Final = "No holdings or long positions found for symbol; rejecting TV SELL."

_POSITIONS = Position.__table__.c
_CACHED_QTY: Final = (
    select(_POSITIONS.qty)
    .where(
        _POSITIONS.broker_name == bindparam("broker"),
        _POSITIONS.symbol == bindparam("symbol"),
        _POSITIONS.exchange == bindparam("exchange"),
        _POSITIONS.product == bindparam("product"),
        _POSITIONS.qty > 0,
    )
    .order_by(_POSITIONS.id)
    .limit(1)
)


class CachedPosition(Protocol):
    """A long position as it was last read from a broker."""

    @property
    def broker_name(self) -> str: ...
    @property
    def symbol(self) -> str: ...
    @property
    def exchange(self) -> str: ...
    @property
    def product(self) -> str: ...
    @property
    def qty(self) -> float: ...


class HasId(Protocol):
    """A user, as a row or as a value."""

    @property
    def id(self) -> int: ...


@dataclass(frozen=True)
class TradingViewSellQtyResolution:
    """What to sell: units, where the figure came from, under which product, and whether it is an exit."""

    qty: float
    source: str
    resolved_product: str
    is_exit: bool
    checked_live: bool
    reject: bool
    note: str | None


def resolve_tradingview_sell_qty(
    db: Session,
    settings: Settings,
    *,
    user: HasId,
    broker_name: str,
    exchange: str,
    symbol: str,
    desired_product: str,
    payload_qty: float,
) -> TradingViewSellQtyResolution:
    """Find the quantity to sell. Database errors are raised; any other failure leaves the alert's figure.

    Ends the session's open transaction before the broker is asked.
    """
    wanted = _Wanted(_key(exchange), _key(symbol), _key(desired_product))
    cached = _cached_qty(db, broker_name, wanted)
    if cached > 0:
        return TradingViewSellQtyResolution(cached, "positions", wanted.product, True, False, False, None)
    try:
        client = OUTSIDE.client_for(db, settings, broker_name, user_id=user.id)
    except HTTPException:
        return unresolved(payload_qty, desired_product)
    db.commit()
    try:
        return _ask_broker(client, wanted, payload_qty, desired_product)
    except SQLAlchemyError:
        raise
    except Exception:
        logger.exception("SELL quantity could not be resolved; the alert's quantity is used")
        return unresolved(payload_qty, desired_product)


def held_in_cache(
    cached: Iterable[CachedPosition], *, broker_name: str, exchange: str, symbol: str, desired_product: str
) -> TradingViewSellQtyResolution | None:
    """What the first of the cached positions that fits says; None when none fits."""
    wanted = (broker_name, _key(symbol), _key(exchange), _key(desired_product))
    for row in cached:
        if (row.broker_name, row.symbol, row.exchange, row.product) == wanted and row.qty > 0:
            return TradingViewSellQtyResolution(row.qty, "positions", wanted[3], True, False, False, None)
    return None


def unresolved(payload_qty: float, desired_product: str) -> TradingViewSellQtyResolution:
    """Nobody can be asked: the alert's quantity stands."""
    return TradingViewSellQtyResolution(payload_qty, "payload", desired_product, False, False, False, None)


@dataclass(frozen=True)
class _Wanted:
    exchange: str
    symbol: str
    product: str

    def matches(self, row: dict[str, Any]) -> bool:
        same = _key(row.get("symbol")) == self.symbol and _key(row.get("exchange")) == self.exchange
        return same and _qty(row) > 0


def _key(value: Any) -> str:
    return str(value or "").strip().upper()


def _qty(row: dict[str, Any]) -> float:
    return float(row.get("qty") or 0.0)


def _cached_qty(db: Session, broker_name: str, wanted: _Wanted) -> float:
    values = {
        "broker": broker_name,
        "symbol": wanted.symbol,
        "exchange": wanted.exchange,
        "product": wanted.product,
    }
    return db.scalars(_CACHED_QTY, values).first() or 0.0


def _listed(call: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """What the broker lists; a failing call counts as an empty list."""
    try:
        return call()
    except Exception as error:
        logger.warning("broker call failed while resolving a SELL: %s", error)
        return []


def _ask_broker(
    client: BrokerClient, wanted: _Wanted, payload_qty: float, desired_product: str
) -> TradingViewSellQtyResolution:
    held = next((row for row in _listed(client.list_holdings) if wanted.matches(row)), None)
    if held is not None:
        return TradingViewSellQtyResolution(_qty(held), "holdings", "CNC", True, True, False, None)
    rows = [row for row in _listed(client.list_positions) if wanted.matches(row)]
    rows.sort(key=lambda row: (_key(row.get("product")) != wanted.product, _key(row.get("product"))))
    if rows:
        product = _key(rows[0].get("product"))
        return TradingViewSellQtyResolution(_qty(rows[0]), "positions", product, True, True, False, None)
    return TradingViewSellQtyResolution(
        payload_qty, "payload", desired_product, False, True, True, NOT_FOUND_NOTE
    )
