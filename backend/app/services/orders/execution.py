"""Sends a waiting order on: through the stored limits to the simulation or to a broker.

Nothing is left open while a broker is asked: the session's transaction ends before the call, and the
outcome is written in a new one. `app.services.orders.sending.asked` says what stands in the order meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NoReturn

from fastapi import HTTPException
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.time_utils import utc_now
from app.db.common.failpoints import Failpoint, failpoint
from app.models import Order, Strategy
from app.services.brokers.clients import BrokerClient, BrokerError, OutcomeUnknown, shown_name
from app.services.brokers.outside import OUTSIDE
from app.services.orders.paper import reject_paper_order, submit_paper_order
from app.services.orders.price_ticks import round_price_to_tick
from app.services.orders.sending.asked import (
    NOT_WAITING,
    AskedInVain,
    always,
    begin_asking,
    keep_placed,
    may_begin,
    move,
)
from app.services.risk.engine_flag import get_risk_engine_v2_enabled
from app.services.risk.limits import RiskResult, evaluate_order_risk
from app.services.risk.policy_store import get_risk_policy
from app.services.shared.kept import kept
from app.services.shared.system_events import add_system_event
from app.services.shared.turns import DISPATCHES

logger = logging.getLogger(__name__)
POLICY_UNAVAILABLE: Final = "Risk policy checks are switched on but not available; order not executed."
_AFTER_MARKET_HINTS: Final = ("Try placing an AMO order", "markets are not open for trading today")


def execute_stored_order(
    db: Session,
    settings: Settings,
    order_id: int,
    correlation_id: str | None,
    still_mine: Callable[[Session], bool] = always,
) -> Order:
    """Execute the order and return it; HTTPException with the reason when the order is not sent.

    Raises `NotMine` when `still_mine` says so in the transaction that notes that a broker is asked.
    """
    return Execution(db, settings, correlation_id, still_mine).run(order_id)


@dataclass(frozen=True)
class Execution:
    """The execution of orders in a session. The correlation id is the one of the events that are stored."""

    db: Session
    settings: Settings
    correlation_id: str | None
    still_mine: Callable[[Session], bool] = always

    def run(self, order_id: int) -> Order:
        """Execute the order and return it; HTTPException with the reason when it is not sent."""
        order = self.db.get(Order, order_id)
        if order is None:
            raise HTTPException(404, "Not found")
        _check_executable(order)
        self._apply_limits(order)
        order.price = round_price_to_tick(order.price)
        order.trigger_price = round_price_to_tick(order.trigger_price)
        if self._target(order) == "PAPER":
            return self._simulate(order)
        return self._send(order)

    def client_if_ready(self, order: Order) -> BrokerClient | None:
        """The client to ask if nothing else is left to do: no limit strikes, and nothing is simulated or refused.

        The order and the database stay as they are.
        """
        prices = (order.price, order.trigger_price)
        if order.status != "WAITING" or tuple(map(round_price_to_tick, prices)) != prices:
            return None
        try:
            _check_executable(order)
            result = self._limits(order)
            if result.blocked or result.clamped or self._target(order) == "PAPER":
                return None
            return OUTSIDE.client_for(self.db, self.settings, order.broker_name, user_id=order.user_id)
        except HTTPException:
            return None

    def _limits(self, order: Order) -> RiskResult:
        switched_on, _source = get_risk_engine_v2_enabled(self.db, self.settings)
        if switched_on or get_risk_policy(self.db, self.settings)[0].enabled:
            raise HTTPException(400, POLICY_UNAVAILABLE)
        return evaluate_order_risk(self.db, order)

    def _apply_limits(self, order: Order) -> None:
        result = self._limits(order)
        if result.blocked:
            self._reject(order, result.reason or "")
        if result.clamped:
            order.qty = result.final_qty
            order.error_message = "; ".join(filter(None, (order.error_message, result.reason)))

    def _reject(self, order: Order, reason: str) -> None:
        if not move(self.db, order, order.status, "REJECTED_RISK", utc_now(), error_message=reason):
            self.db.rollback()
            raise HTTPException(400, NOT_WAITING)
        details = {"order_id": order.id, "reason": reason}
        self._add_event("WARNING", "risk", "Order rejected by risk engine", details)
        self.db.commit()
        raise HTTPException(400, f"Order rejected by risk engine: {reason}")

    def _target(self, order: Order) -> str:
        """PAPER on the order wins; else the strategy's target, else that of the only strategy there is."""
        if order.execution_target == "PAPER":
            return "PAPER"
        if order.strategy_id is not None:
            strategy = self.db.get(Strategy, order.strategy_id)
            return strategy.execution_target if strategy else "LIVE"
        query = select(Strategy.execution_target).order_by(Strategy.id).limit(2)
        targets = kept(self.db, Strategy, lambda: self.db.scalars(query).all())
        return targets[0] if len(targets) == 1 else "LIVE"

    def _simulate(self, order: Order) -> Order:
        if not OUTSIDE.market_is_open():
            reject_paper_order(self.db, order, correlation_id=self.correlation_id)
            raise HTTPException(400, "Market is closed; paper order rejected.")
        return submit_paper_order(self.db, self.settings, order, correlation_id=self.correlation_id)

    def _send(self, order: Order) -> Order:
        self.db.commit()
        client = OUTSIDE.client_for(self.db, self.settings, order.broker_name, user_id=order.user_id)
        begin_asking(self.db, order, self.still_mine)
        failpoint(Failpoint.ORDER_ASKED)
        asked_at = order.updated_at
        try:
            DISPATCHES.give_back()
            broker_order_id = ask(client, order)
        except BrokerError as error:
            self.refused(order, asked_at, error)
        keep_placed(self.db, order, broker_order_id, client.account_id, self.correlation_id)
        failpoint(Failpoint.ORDER_STORED)
        return order

    def refused(self, order: Order, asked_at: datetime, error: BrokerError) -> NoReturn:
        """Store that the broker has not taken the order; commits and raises the HTTPException that says so."""
        move(self.db, order, "SENDING", "FAILED", utc_now(), asked_by=asked_at, error_message=str(error))
        self.db.commit()
        name = shown_name(order.broker_name)
        raise HTTPException(502, f"{name} order placement failed: {error}") from error

    def _add_event(self, level: str, category: str, message: str, details: dict[str, object]) -> None:
        add_system_event(
            self.db,
            level=level,
            category=category,
            message=message,
            correlation_id=self.correlation_id,
            details=details,
        )


def _check_executable(order: Order) -> None:
    allowed = {"WAITING", "SENDING"} if order.synthetic_gtt else {"WAITING"}
    if order.status not in allowed or order.simulated:
        raise HTTPException(400, NOT_WAITING)
    if not order.qty or order.qty <= 0:
        raise HTTPException(400, "Order has invalid quantity.")


def ask(client: BrokerClient, order: Order) -> str:
    """Ask the broker to take a SENDING order; the broker's id of the order.

    Raises:
        BrokerError: the broker has not taken the order.
        AskedInVain: nobody knows.
    """
    name = shown_name(order.broker_name)
    try:
        broker_order_id = _place(client, order)
    except OutcomeUnknown as error:
        raise AskedInVain(name, order) from error
    except BrokerError:
        raise
    except Exception as error:  # the client broke in the middle: it says nothing about the broker
        logger.exception("the call to %s for order %s broke", name, order.id)
        raise AskedInVain(name, order) from error
    failpoint(Failpoint.ORDER_PLACED)
    return broker_order_id


def _place(client: BrokerClient, order: Order) -> str:
    """Place the order, once more as an after-market order when the broker refuses it and suggests that."""
    try:
        return client.place_order(order)
    except OutcomeUnknown:
        raise  # whatever its text says, the broker may have the order
    except BrokerError as error:
        if not any(hint in str(error) for hint in _AFTER_MARKET_HINTS) or not may_begin(order):
            raise
        return client.place_order(order, variety="amo")
