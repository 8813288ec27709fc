"""One AUTO order at a time: those that cannot be sent together with others, and those that a fault has met."""

from __future__ import annotations

import time
from typing import Any, Final

from app.core.sessions import opened
from app.models import Order
from app.services.brokers.clients import BrokerError
from app.services.orders.sending.asked import keep_placed
from app.services.orders.sending.together import Asked
from app.services.shared.turns import DISPATCHES
from app.services.webhook.dispatch import (
    PENDING,
    Dispatch,
    accepted,
    after_refusal,
    dispatch_auto,
    put_aside,
    take_back,
)
from app.services.webhook.door.group import Auto
from app.services.webhook.door.waiting import Waiting

TOO_LATE: Final = "AUTO dispatch could not begin in time; moved to Waiting Queue. The order was not sent."


def dispatched(one: Waiting, auto: Auto) -> dict[str, Any]:
    """Dispatch a stored order, or put it aside if it is too late to begin."""
    call, what = one.call, Dispatch.of(auto.signal, auto.stored)
    with DISPATCHES.taken(), opened(call.sessions) as db:
        if time.monotonic() <= one.deadline:
            return dispatch_auto(db, call.settings, what, market_is_open=call.market_is_open)
        put_aside(db, what.order_id, TOO_LATE, what.correlation_id)
        db.commit()
    return accepted(auto.stored) | {"dispatch": "WAITING"}


def refused(one: Waiting, auto: Auto, asked: Asked, error: BrokerError) -> dict[str, Any]:
    """Store that the broker has not taken the order."""
    what = Dispatch.of(auto.signal, auto.stored)
    with opened(one.call.sessions) as db:
        order = db.get_one(Order, what.order_id)
        return after_refusal(db, one.call.settings, what, order, asked.at, error)


def taken_back(one: Waiting, auto: Auto, asked: Asked) -> dict[str, Any]:
    """Leave an order to a person of which no broker was asked, although it says so: the call could not begin in time."""
    with opened(one.call.sessions) as db:
        moved = take_back(db, Dispatch.of(auto.signal, auto.stored), asked.at, TOO_LATE)
        db.commit()
    return accepted(auto.stored) | ({"dispatch": "WAITING"} if moved else PENDING)


def placed(one: Waiting, auto: Auto, asked: Asked, broker_order_id: str) -> dict[str, Any]:
    """Store what the broker has said, unless it is stored already."""
    what = Dispatch.of(auto.signal, auto.stored)
    with opened(one.call.sessions) as db:
        order = db.get_one(Order, what.order_id)
        keep_placed(db, order, broker_order_id, asked.client.account_id, what.correlation_id)
    return accepted(auto.stored)
