"""Broker calls for deliveries: in threads, outside of any transaction, never longer than a sender waits.

What a broker holds is asked before a SELL is stored. When the answer does not come in time, no broker could be
asked, and the alert's quantity stands. An AUTO order is dispatched after it was stored. When that takes too long,
the sender is told that the order is stored, and the dispatch goes on. A dispatch that could not even begin in
time is put aside for a person: an order that reaches a broker much later than its signal may do harm.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from app.core.sessions import opened
from app.services.positions.sell_qty import (
    TradingViewSellQtyResolution,
    resolve_tradingview_sell_qty,
    unresolved,
)
from app.services.webhook.dispatch import PENDING, accepted
from app.services.webhook.door.group import AtBroker, Auto
from app.services.webhook.door.outside.dispatcher import Dispatcher
from app.services.webhook.door.waiting import Answer, Waiting, tell

THREADS: Final = 16  # for each broker


class Pools:
    """Threads of their own for each broker: one that does not answer keeps no call of another waiting."""

    def __init__(self) -> None:
        self._making = threading.Lock()
        self._by_broker: dict[str, ThreadPoolExecutor] = {}

    def start(self, broker: str, work: Callable[[], None]) -> None:
        """Do a piece of work in a thread of this broker's; "" stands for work that asks none."""
        with self._making:
            if broker not in self._by_broker:
                self._by_broker[broker] = ThreadPoolExecutor(
                    THREADS, thread_name_prefix=f"st-outside-{broker}"
                )
            self._by_broker[broker].submit(work)

    def close(self) -> None:
        """Wait for what is under way."""
        for pool in self._by_broker.values():
            pool.shutdown(wait=True)


class Outside:
    """The threads of one process that talk to brokers; made when the first of them is needed."""

    def __init__(self) -> None:
        self._making = threading.Lock()
        self._pools = Pools()
        self._dispatcher: Dispatcher | None = None

    def close(self) -> None:
        """Wait for what is under way; another call opens new threads."""
        with self._making:
            pools, self._pools = self._pools, Pools()
            dispatcher, self._dispatcher = self._dispatcher, None
        if dispatcher is not None:
            dispatcher.close()
        pools.close()

    def ask_what_is_held(self, one: Waiting, leaves: AtBroker, then: Callable[[list[Waiting]], None]) -> None:
        """Ask the broker; then give the delivery, and the copies that wait for it, back to the writer."""
        signal, alert = leaves.signal, leaves.signal.normalized
        asked = threading.Lock()

        def give_back(held: TradingViewSellQtyResolution | BaseException) -> None:
            if not asked.acquire(blocking=False):
                return  # the other of the two was faster
            if isinstance(held, BaseException):
                one.outcome = held
                tell([one])
                then(leaves.copies)
            else:
                one.held = held
                then([one, *leaves.copies])

        def ask() -> None:
            if asked.locked():
                return  # while it stood in line for a thread, its time has passed: nobody wants to know any more
            try:
                with opened(one.call.sessions) as db:
                    held = resolve_tradingview_sell_qty(
                        db,
                        one.call.settings,
                        user=signal.user,
                        broker_name=signal.routing.broker_name,
                        exchange=alert.broker_exchange,
                        symbol=alert.broker_symbol,
                        desired_product=alert.product,
                        payload_qty=alert.qty or 0.0,
                    )
            except BaseException as error:
                give_back(error)
            else:
                give_back(held)

        patience = one.call.settings.webhook_broker_timeout_ms / 1000
        unknown = partial(give_back, unresolved(alert.qty or 0.0, alert.product))
        with self._making:
            self._pools.start(signal.routing.broker_name, ask)
        one.loop.call_soon_threadsafe(one.loop.call_later, patience, unknown)

    def dispatch(self, one: Waiting, auto: Auto) -> None:
        """Dispatch a stored order and tell its sender."""
        one.meanwhile = Answer(201, accepted(auto.stored) | PENDING)
        with self._making:
            if self._dispatcher is None:
                self._dispatcher = Dispatcher(self._pools.start)
            self._dispatcher.join(one, auto)
