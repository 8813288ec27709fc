"""Orders: list, enter, edit, execute, put back into the queue."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session, joinedload

from app.core.config import Settings
from app.core.logging import correlation_id_of
from app.core.market_hours import is_market_open_now
from app.core.sessions import AppSettings, CurrentUser, Db, ListingDb, OptionalUser
from app.db.common.deadline import at_most
from app.db.session.routed import begin_write
from app.models import Alert, Order, User
from app.schemas.orders import OrderCreate, OrderRead, OrderStatusUpdate, OrderUpdate, SyncResult
from app.schemas.types import PathId, QueryId
from app.services.brokers.clients import CLIENT_FACTORIES, BrokerClient
from app.services.brokers.outside import OUTSIDE, broker_client, client_from, client_or_400
from app.services.brokers.outside import supported_broker as _ensure_supported_broker
from app.services.orders.entry import apply_edit, check_amounts, new_order
from app.services.orders.execution import execute_stored_order
from app.services.orders.queue import check_requeue, requeue_with_event, sync_order_statuses
from app.services.shared.listing import visible_to

router = APIRouter(prefix="/api/orders", tags=["orders"])
# Of the alert only what the order's origin is made of: its payload may be large.
_ORIGIN = joinedload(Order.alert).load_only(Alert.source, Alert.platform)
_PATIENCE_S = 5.0  # for a lock on an order, where no request's deadline is shorter
_EDITABLE_STATUSES = ("WAITING", "CANCELLED")


def _get_zerodha_client(db: Session, settings: Settings, user_id: int | None = None) -> BrokerClient:
    """A Zerodha client; HTTPException 400 without a connection."""
    return client_or_400(db, settings, "zerodha", user_id)


def _get_broker_client(
    db: Session, settings: Settings, broker_name: str, user_id: int | None = None
) -> BrokerClient:
    """A client of the broker for the user; HTTPException 400 when unsupported or not connected."""
    if _ensure_supported_broker(broker_name) == "zerodha":
        return client_from(_get_zerodha_client, db, settings, user_id)
    return broker_client(db, settings, broker_name, user_id)


# Looked up by name at each call: code written against the application replaces both names in this module.
OUTSIDE.client_for = lambda *arguments, **named: _get_broker_client(*arguments, **named)
OUTSIDE.market_is_open = lambda: is_market_open_now()
_OWN = (_get_broker_client, _get_zerodha_client)
OUTSIDE.may_have_client = lambda broker_name: (
    (_get_broker_client, _get_zerodha_client) != _OWN or broker_name in CLIENT_FACTORIES
)


def _find(db: Session, order_id: int) -> Order:
    order = db.get(Order, order_id, options=[_ORIGIN])
    if order is None:
        raise HTTPException(404, "Not found")
    return order


def _find_to_change(db: Session, order_id: int) -> Order:
    """The order, which nobody else changes or sends until the session's transaction ends."""
    begin_write(db, at_most(_PATIENCE_S))
    lock = {"of": Order, "key_share": True}
    order = db.get(Order, order_id, options=[_ORIGIN], with_for_update=lock)
    if order is None:
        raise HTTPException(404, "Not found")
    return order


def _list(db: Session, *conditions: ColumnElement[bool]) -> list[Order]:
    query = select(Order).where(*conditions).options(_ORIGIN)
    return list(db.scalars(query.order_by(Order.created_at.desc(), Order.id.desc())))


def _filters(user: User | None, strategy_id: int | None, broker: str | None) -> list[ColumnElement[bool]]:
    conditions = [visible_to(Order.user_id, user)]
    if strategy_id is not None:
        conditions.append(Order.strategy_id == strategy_id)
    if broker is not None:
        conditions.append(Order.broker_name == _ensure_supported_broker(broker))
    return conditions


@router.get("/", response_model=list[OrderRead])
def list_orders(
    db: ListingDb,
    user: OptionalUser,
    status: str | None = None,
    strategy_id: QueryId = None,
    broker_name: str | None = None,
) -> list[Order]:
    """Orders, newest first."""
    conditions = _filters(user, strategy_id, broker_name)
    if status is not None:
        conditions.append(Order.status == status)
    return _list(db, *conditions)


@router.get("/queue", response_model=list[OrderRead])
def list_queue(
    db: Db, user: OptionalUser, strategy_id: QueryId = None, broker_name: str | None = None
) -> list[Order]:
    """Orders that wait for a person, newest first."""
    waiting = (Order.status == "WAITING", Order.mode == "MANUAL", Order.simulated.is_(False))
    # Excludes nothing: the index with the status in it begins with this column.
    of_any_kind = Order.synthetic_gtt.in_((False, True))
    return _list(db, *_filters(user, strategy_id, broker_name), *waiting, of_any_kind)


@router.get("/{order_id}", response_model=OrderRead)
def get_order(order_id: PathId, db: Db) -> Order:
    """One order."""
    return _find(db, order_id)


@router.post("/", response_model=OrderRead)
def create_order(
    body: OrderCreate, request: Request, db: Db, settings: AppSettings, user: CurrentUser
) -> Order:
    """Enter an order; in AUTO mode it is executed at once, and a failure shows in its row."""
    check_amounts(body)
    order = new_order(db, body, user, _ensure_supported_broker(body.broker_name))
    db.add(order)
    db.commit()
    if order.mode == "AUTO" and not order.synthetic_gtt:
        try:
            execute_stored_order(db, settings, order.id, correlation_id_of(request))
        except HTTPException as failure:
            if order.status == "WAITING":
                order.status = "FAILED"
                order.error_message = str(failure.detail)
                db.commit()
    return order


@router.patch("/{order_id}/status", response_model=OrderRead)
def update_status(order_id: PathId, body: OrderStatusUpdate, db: Db) -> Order:
    """Cancel a waiting order, or take the cancellation back."""
    order = _find_to_change(db, order_id)
    if order.status not in _EDITABLE_STATUSES:
        raise HTTPException(400, "Only WAITING/CANCELLED orders can be updated via this endpoint.")
    if order.status != body.status:
        order.status = body.status
        db.commit()
    return order


@router.patch("/{order_id}", response_model=OrderRead)
def edit_order(order_id: PathId, body: OrderUpdate, db: Db) -> Order:
    """Change an order that waits for a person."""
    order = _find_to_change(db, order_id)
    if order.status != "WAITING" or order.mode != "MANUAL" or order.simulated:
        raise HTTPException(400, "Only non-simulated WAITING MANUAL orders can be edited.")
    broker = _ensure_supported_broker(order.broker_name) if body.gtt else order.broker_name
    apply_edit(order, body, broker)
    db.commit()
    return order


@router.post("/{order_id}/execute", response_model=OrderRead)
def execute_order(order_id: PathId, request: Request, db: Db, settings: AppSettings) -> Order:
    """Send a waiting order to its broker or to the simulation."""
    return execute_stored_order(db, settings, order_id, correlation_id_of(request))


def execute_order_internal(
    order_id: int, *, db: Session, settings: Settings, correlation_id: str | None = None
) -> Order:
    """`execute_order` outside of a request; HTTPException with the reason when the order is not sent."""
    return execute_stored_order(db, settings, order_id, correlation_id)


@router.post("/{order_id}/move-to-waiting", response_model=OrderRead)
def move_to_waiting(order_id: PathId, request: Request, db: Db, user: CurrentUser) -> Order:
    """Copy an order that did not go out into the manual queue; the copy is returned."""
    order = _find_to_change(db, order_id)
    check_requeue(order, user)
    return requeue_with_event(db, order, correlation_id_of(request))


@router.post("/sync", response_model=SyncResult)
def sync_orders(
    db: Db, settings: AppSettings, user: CurrentUser, broker_name: Annotated[str, Query()] = "zerodha"
) -> SyncResult:
    """Take over the broker's order statuses."""
    client = _get_broker_client(db, settings, broker_name, user_id=user.id)
    db.commit()
    statuses = client.order_statuses()
    return SyncResult(updated=sync_order_statuses(db, broker_name.strip().lower(), statuses))
