"""AUTO orders whose dispatch never came to an end are shown to a person instead of to nobody.

An AUTO order is committed before it is dispatched. If the process dies in between, or the database is
lost, it stays WAITING in mode AUTO: a repeated delivery is a copy of it and the manual queue does not
list it. An earlier release may have sent it, so it is never dispatched again by itself. After
`STRANDED_AFTER` it moves to the manual queue with a message that says what to look for.

An order of which a broker was asked is SENDING, not WAITING: `app.services.orders.sending.unknown` settles those,
and the look here settles them, too.

The scheduler looks once a minute. If two look, the update names the state it expects, so only one moves an order.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.time_utils import utc_now
from app.models import Order
from app.services.orders.sending.jobs import HAS_OPEN_JOB
from app.services.orders.sending.unknown import settle_unknown
from app.services.shared.bulk import changed_rows
from app.services.shared.system_events import add_system_event

logger = logging.getLogger(__name__)
STRANDED_AFTER: Final = timedelta(minutes=2)  # longer than any dispatch takes
NOT_BEFORE: Final = timedelta(days=7)  # what is older is history, and stays as it is
LOOK_EVERY_SECONDS: Final = 60.0
STRANDED: Final = (
    "AUTO dispatch did not come to an end; moved to Waiting Queue. "
    "The order may have reached the broker: look there before executing it."
)


def move_stranded_orders(db: Session) -> list[int]:
    """Put stranded AUTO orders into the manual queue, with an event each; commits, returns their ids."""
    now = utc_now()
    stranded: tuple[ColumnElement[bool], ...] = (
        Order.status == "WAITING",
        Order.mode == "AUTO",
        Order.client_order_id.is_not(None),  # others are entered by hand and answer with their failure
        Order.error_message.is_(None),  # a message means that the dispatch has ended
        Order.broker_order_id.is_(None),
        Order.synthetic_gtt.is_(False),
        Order.simulated.is_(False),
        Order.updated_at < now - STRANDED_AFTER,
        Order.created_at > now - NOT_BEFORE,
    )
    if get_settings().webhook_dispatch == "queue":
        stranded = (*stranded, ~HAS_OPEN_JOB)  # such an order is still in its worker's hands
    found = db.execute(select(Order.id, Order.symbol).where(*stranded).order_by(Order.id)).all()
    moved = []
    for order_id, symbol in found:
        move = update(Order).where(Order.id == order_id, *stranded)
        if changed_rows(db, move.values(mode="MANUAL", error_message=STRANDED, updated_at=now)):
            details = {"order_id": order_id, "symbol": symbol}
            add_system_event(
                db, level="WARNING", category="order", message="Stranded AUTO order moved to waiting queue",
                details=details,
            )  # fmt: skip
            moved.append(order_id)
    db.commit()
    return moved


def look_for_stranded_orders(sessions: Callable[[], Session]) -> None:
    """Look once, and settle orders of unknown outcome; database errors are raised."""
    with sessions() as db:
        moved = move_stranded_orders(db)
        settled = settle_unknown(db, get_settings())
    if moved:
        logger.warning("stranded AUTO orders moved to the waiting queue: %s", moved)
    if settled:
        logger.warning("orders of unknown outcome: %s", settled)
