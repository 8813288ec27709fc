"""Many orders are sent together: one transaction notes that brokers are asked, one stores what they said.

The states of an order and the safety order are those of `app.services.orders.sending.asked`. Only an order for which
nothing is left to do but to ask its broker comes here. Every other one, and every fault, is the matter of
`app.services.orders.execution`, which takes one order at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from app.core.config import Settings
from app.core.time_utils import utc_now
from app.db.common.failpoints import Failpoint, failpoint
from app.db.session.routed import begin_write
from app.models import Order
from app.services.brokers.clients import BrokerClient
from app.services.orders.execution import Execution
from app.services.orders.sending.asked import is_new, may_begin, placed_values, sent_event
from app.services.shared.bulk import Row, changed_rows
from app.services.shared.kept import answers_kept
from app.services.shared.system_events import insert_events

_ID, _SAID = "st_id", "st_said"  # parameters that have no column's name
_ORDERS: Final = Order.__table__


@dataclass(frozen=True)
class Asked:
    """An order that is SENDING, and the client to ask. No session holds the order."""

    order: Order
    client: BrokerClient

    @property
    def at(self) -> datetime:
        """When the order became SENDING."""
        return self.order.updated_at


@dataclass(frozen=True)
class Placed:
    """What a broker has said of an order, and the event that ends its signal."""

    asked: Asked
    broker_order_id: str
    correlation_id: str | None
    closing: Row


class OneByOne(Exception):
    """Nothing was changed; each order has to be sent by itself."""


def begin_asking_all(
    db: Session, settings: Settings, order_ids: Sequence[int], patience_s: float
) -> dict[int, Asked]:
    """Commit that brokers are asked now; by id, those of the orders that can be sent together.

    Raises:
        OneByOne: somebody has taken one of the orders, the commit took too long, or the database refused before it.
        DBAPIError: the commit failed. Nobody knows whether the orders are SENDING.
    """
    try:
        ready = _ready(db, settings, order_ids)
        if not ready:
            return {}
        begin_write(db, patience_s)
        moved = _move(db, [one.order for one in ready], "WAITING", "SENDING")
    except Exception as error:  # whatever it was, nothing is committed, and each order meets it by itself
        db.rollback()
        raise OneByOne from error
    if not moved:
        db.rollback()
        raise OneByOne
    db.commit()
    if not all(may_begin(one.order) for one in ready):
        _move(db, [one.order for one in ready], "SENDING", "WAITING")
        db.commit()
        raise OneByOne
    db.expunge_all()
    failpoint(Failpoint.ORDER_ASKED)
    return {one.order.id: one for one in ready}


def store_placed_all(db: Session, placed: Sequence[Placed]) -> None:
    """Write what the brokers have answered, and the events that end the signals; commits.

    Raises:
        OneByOne: somebody else has stored one of the answers; nothing was changed.
        DBAPIError: nobody knows whether anything was stored, if the commit failed.
    """
    now = utc_now()
    orders = [
        {_ID: one.asked.order.id, _SAID: one.broker_order_id, **placed_values(one.asked.order, one.broker_order_id, one.asked.client.account_id, now)}
        for one in placed
    ]  # fmt: skip
    names = orders[0].keys() - {_ID, _SAID}
    write = update(_ORDERS).where(_ORDERS.c.id == bindparam(_ID), is_new(bindparam(_SAID)))
    write = write.values({name: bindparam(name) for name in names})
    if db.connection().execute(write, orders).rowcount != len(orders):
        db.rollback()
        raise OneByOne
    events: list[Row] = []
    for one in placed:
        events += sent_event(one.asked.order, one.broker_order_id, one.correlation_id), one.closing
    insert_events(db, events)
    db.commit()
    failpoint(Failpoint.ORDER_STORED)


def _ready(db: Session, settings: Settings, order_ids: Sequence[int]) -> list[Asked]:
    execution = Execution(db, settings, None)
    orders = db.scalars(select(Order).where(Order.id.in_(order_ids)).order_by(Order.id))
    with answers_kept(db):
        found = [Asked(order, client) for order in orders if (client := execution.client_if_ready(order))]
    db.commit()  # it has only read: no transaction stays open
    return found


def _move(db: Session, orders: Sequence[Order], start: str, end: str) -> bool:
    """Move all orders from one status to another, or none; `False` if one of them is not in the first."""
    now = utc_now()
    expected: list[Any] = [Order.id.in_([order.id for order in orders]), Order.status == start]
    if start == "SENDING":
        expected.append(Order.updated_at == orders[0].updated_at)
    write = update(Order).where(*expected, Order.broker_order_id.is_(None))
    if changed_rows(db, write.values(status=end, updated_at=now)) != len(orders):
        return False
    for order in orders:
        set_committed_value(order, "status", end)
        set_committed_value(order, "updated_at", now)
    return True
