"""One transaction for a group of deliveries; each keeps the outcome that it would have alone.

Safety order: begin as a writer (on SQLite the write lock is held from here on, so nothing comes between looking
and inserting), look up once for all, decide each by itself, insert, see whether it is too late for one of them,
commit. Of copies within the group the first one counts. A SELL for which a broker has to be asked leaves the
group before anything is inserted, and copies of it with it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.core.time_utils import utc_now
from app.db.session.routed import begin_write
from app.services.brokers.outside import OUTSIDE
from app.services.orders import create_order_from_alert
from app.services.orders.sending.jobs import ORDERS, enqueue_orders
from app.services.positions.sell_qty import TradingViewSellQtyResolution, held_in_cache, unresolved
from app.services.shared.bulk import Row
from app.services.shared.jobs.wake import ring
from app.services.shared.system_events import insert_events
from app.services.webhook.decide import (
    Signal,
    closing_event,
    copy_event,
    decide,
    default_user_event,
    with_held,
)
from app.services.webhook.dispatch import QUEUED, Dispatch, accepted
from app.services.webhook.door.waiting import Answer, Waiting, begin_storing
from app.services.webhook.lookup import Duplicate, GroupFound, find_earlier, look_up_all
from app.services.webhook.receive import Delivery, Ended, Event
from app.services.webhook.store import Stored, insert_by, insert_signals

LEAST_PATIENCE_S: Final = 0.05


@dataclass(frozen=True)
class Auto:
    """A stored AUTO order that is dispatched once the group is committed."""

    signal: Signal
    stored: Stored


@dataclass(frozen=True)
class AtBroker:
    """A SELL that has to wait for what a broker says is held, and the copies of it that wait with it."""

    signal: Signal
    copies: list[Waiting]


Outcome = Answer | Auto | AtBroker


class TooLate(Exception):
    """For some of the group the time has passed; nothing was committed."""


class LostCommit(Exception):
    """Nobody knows whether the commit took place: its acknowledgement is missing.

    `key` and `order_id` of one new order tell: if the order is there, the whole group is.
    """

    def __init__(
        self, outcomes: list[tuple[Waiting, Outcome]], key: str, order_id: int, cause: DBAPIError
    ) -> None:
        super().__init__(str(cause))
        self.outcomes, self.key, self.order_id, self.cause = outcomes, key, order_id, cause


def store_group(db: Session, group: Sequence[Waiting]) -> list[tuple[Waiting, Outcome]]:
    """Store a group in one transaction of the session; the outcome of each member, in their order.

    Raises TooLate, LostCommit, or what the database raises; in each case but the second nothing is stored.
    """
    patience = min(one.deadline for one in group) - time.monotonic()
    begin_write(db, max(LEAST_PATIENCE_S, patience))
    transaction = _Transaction(db, group)
    transaction.decide_all()
    transaction.insert_all()
    if not transaction.has_written:
        db.rollback()
        return transaction.outcomes
    # Those who go to a broker are in no commit yet: their time goes on in the line.
    late = begin_storing([one for one, outcome in transaction.outcomes if not isinstance(outcome, AtBroker)])
    if late:
        db.rollback()
        raise TooLate(f"for {len(late)} deliveries")
    in_doubt = db.connection().dialect.name == "postgresql"
    try:
        db.commit()
    except DBAPIError as error:
        if in_doubt and error.connection_invalidated and transaction.new:
            signal, stored = transaction.new[0][1], transaction.stored[0]
            raise LostCommit(transaction.outcomes, signal.key, stored.order_id, error) from error
        raise
    if transaction.has_jobs:
        ring(ORDERS)
    return transaction.outcomes


class _Transaction:
    """What becomes of a group in one transaction."""

    def __init__(self, db: Session, group: Sequence[Waiting]) -> None:
        self._db = db
        self._group = group
        self._settings = group[0].call.settings
        self._decided: list[Signal | Ended] = []
        self._first: dict[str, int] = {}  # key -> place in `new`
        self._asking: dict[str, AtBroker] = {}  # key -> the SELL that leaves the group
        self._copies: dict[Waiting, int | Duplicate] = {}
        self._places: dict[Waiting, int] = {}
        self.new: list[tuple[Waiting, Signal]] = []
        self.stored: list[Stored] = []
        self.outcomes: list[tuple[Waiting, Outcome]] = []
        self.has_written = False
        self.queues = self._settings.webhook_dispatch == "queue"
        self.has_jobs = False

    def decide_all(self) -> None:
        """Look up what is stored, and sort the members into new signals, copies and the rest."""
        asked = [one.received.asked for one in self._group if isinstance(one.received, Delivery)]
        found = look_up_all(self._db, self._settings, asked) if asked else GroupFound()
        self._decided = self._with_late_keys([self._decide(one, found) for one in self._group])
        now = utc_now()
        for place, (one, signal) in enumerate(zip(self._group, self._decided, strict=True)):
            if isinstance(signal, Ended):
                continue
            if signal.is_copy_at(now):
                assert signal.earlier is not None
                self._copies[one] = signal.earlier
            elif signal.key in self._first:
                self._copies[one] = self._first[signal.key]
            elif signal.key in self._asking:
                self._asking[signal.key].copies.append(one)
            elif (held := self._held(one, signal, found)) is None:
                self._asking[signal.key] = leaves = AtBroker(signal, [])
                self.outcomes.append((one, leaves))
            else:
                self._decided[place] = signal = held
                self._first[signal.key] = self._places[one] = len(self.new)
                self.new.append((one, signal))

    def insert_all(self) -> None:
        """Insert the rows, and note the outcome of every member that has one now."""
        self.stored = self._insert_new()
        if self.queues:
            self._enqueue()
        told: list[Row] = []
        asking = {one for one, _leaves in self.outcomes}
        asking.update(one for leaves in self._asking.values() for one in leaves.copies)
        for one, decided in zip(self._group, self._decided, strict=True):
            if one not in asking:
                self.outcomes.append((one, self._outcome(one, decided, told)))
        if told:
            insert_events(self._db, told)
        self.has_written = bool(told or self.new)

    def _decide(self, one: Waiting, found: GroupFound) -> Signal | Ended:
        received = one.received
        if isinstance(received, Ended):
            return received
        return decide(self._settings, received, found.about(received.asked))

    def _with_late_keys(self, decided: list[Signal | Ended]) -> list[Signal | Ended]:
        """Look once more for keys that are made of the default user's name too."""
        late = {
            signal.key
            for one, signal in zip(self._group, decided, strict=True)
            if isinstance(signal, Signal)
            and isinstance(one.received, Delivery)
            and one.received.asked.key is None
        }
        if not late:
            return decided
        earlier = find_earlier(self._db, sorted(late))
        return [
            replace(signal, earlier=earlier.get(signal.key))
            if isinstance(signal, Signal) and signal.key in late
            else signal
            for signal in decided
        ]

    def _held(self, one: Waiting, signal: Signal, found: GroupFound) -> Signal | None:
        """A SELL with what is held; None if a broker has to be asked."""
        alert = signal.normalized
        if alert.side != "SELL":
            return signal
        resolution: TradingViewSellQtyResolution | None = one.held
        if resolution is None:
            assert isinstance(one.received, Delivery)
            resolution = held_in_cache(
                found.about(one.received.asked).positions,
                broker_name=signal.routing.broker_name,
                exchange=alert.broker_exchange,
                symbol=alert.broker_symbol,
                desired_product=alert.product,
            )
        if resolution is None and not OUTSIDE.may_have_client(signal.routing.broker_name):
            resolution = unresolved(alert.qty or 0.0, alert.product)
        return None if resolution is None else with_held(signal, resolution)

    def _insert_new(self) -> list[Stored]:
        create_order = self._group[0].call.create_order
        if create_order is create_order_from_alert:
            return insert_signals(self._db, [signal for _one, signal in self.new])
        return [insert_by(self._db, signal, create_order) for _one, signal in self.new]

    def _enqueue(self) -> None:
        """The jobs of AUTO orders, in the same transaction."""
        jobs = [
            (stored.order_id, signal.is_exit, asdict(Dispatch.of(signal, stored)))
            for (_one, signal), stored in zip(self.new, self.stored, strict=True)
            if signal.mode == "AUTO"
        ]
        enqueue_orders(self._db, jobs, self._settings.order_max_age_s)
        self.has_jobs = bool(jobs)

    def _outcome(self, one: Waiting, decided: Signal | Ended, told: list[Row]) -> Outcome:
        def tell(event: Event | None) -> None:
            if event is not None:
                told.append(event.row(one.arrival.correlation_id))

        if isinstance(decided, Ended):
            tell(decided.event)
            refused = isinstance(decided.answer, str)
            body: Any = {"detail": decided.answer} if refused else decided.answer
            return Answer(decided.status, body)
        tell(default_user_event(decided))
        if one in self._copies:
            found = self._duplicate(self._copies[one])
            tell(copy_event(decided, found))
            return Answer(201, {"status": "deduped", "order_id": found.order_id, "alert_id": found.alert_id})
        stored = self.stored[self._places[one]]
        if decided.mode == "AUTO":
            return Answer(201, accepted(stored) | QUEUED) if self.queues else Auto(decided, stored)
        tell(closing_event(decided, stored.alert_id, stored.order_id))
        return Answer(201, accepted(stored))

    def _duplicate(self, of: int | Duplicate) -> Duplicate:
        if isinstance(of, Duplicate):
            return of
        stored = self.stored[of]
        return Duplicate(stored.order_id, stored.alert_id, utc_now())
