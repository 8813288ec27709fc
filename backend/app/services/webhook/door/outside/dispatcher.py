"""The one thread of a process that notes that brokers are asked, and stores what they say.

    stored order --begin, many in a transaction--> SENDING --asked, each in a thread--> said
                                                   said --end, many in a transaction--> SENT, and the sender is told

While one transaction is under way, others arrive; the next one takes all of them. So a burst costs few transactions, and
a single order no more than before. Whatever cannot be done together is done alone: an order that a limit strikes or
that is simulated, one that is late, and all orders of a transaction that failed before its commit.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

from fastapi import HTTPException

from app.core.sessions import opened
from app.services.brokers.clients import BrokerError
from app.services.orders.execution import ask
from app.services.orders.sending.asked import AskedInVain, may_begin
from app.services.orders.sending.together import Asked, OneByOne, Placed, begin_asking_all, store_placed_all
from app.services.webhook.dispatch import Dispatch, accepted
from app.services.webhook.door.group import LEAST_PATIENCE_S, Auto
from app.services.webhook.door.outside import alone
from app.services.webhook.door.waiting import Answer, Waiting, tell

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sent:
    """An AUTO order on its way to a broker, with the delivery that waits for it."""

    one: Waiting
    auto: Auto
    asked: Asked | None = None
    said: str | None = None  # the broker's id of the order

    @property
    def group(self) -> tuple[int, ...]:
        """Equal for those that may share a transaction."""
        return self.one.call.identity

    @property
    def broker(self) -> str:
        """Whom the order goes to."""
        return self.auto.signal.routing.broker_name


class Dispatcher:
    """Takes stored orders, and tells their senders how the dispatch has ended.

    Args:
        start: does a piece of work in a thread of this broker's; "" stands for work that asks none.
    """

    def __init__(self, start: Callable[[str, Callable[[], None]], object]) -> None:
        self._start = start
        self._changed = threading.Condition()
        self._to_begin: list[Sent] = []
        self._to_end: list[Sent] = []
        self._asking = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="st-dispatch", daemon=True)
        self._thread.start()

    def join(self, one: Waiting, auto: Auto) -> None:
        """Dispatch a stored order."""
        with self._changed:
            self._to_begin.append(Sent(one, auto))
            self._changed.notify()

    def close(self) -> None:
        """Wait until everything is stored that brokers say, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._to_begin or self._to_end or (self._closed and not self._asking)):
                    self._changed.wait()
                to_begin, self._to_begin = self._to_begin, []
                to_end, self._to_end = self._to_end, []
            if not to_begin and not to_end:
                return
            self._in_groups(to_end, self._end)
            self._in_groups(to_begin, self._begin)

    def _in_groups(self, members: Sequence[Sent], work: Callable[[list[Sent]], None]) -> None:
        for _call, part in groupby(members, key=lambda sent: sent.group):
            group = list(part)
            try:
                work(group)
            except Exception:  # nobody may wait in vain, and the thread goes on
                logger.exception("the dispatch of %s orders broke", len(group))
                _tell(*((sent, sent.one.meanwhile) for sent in group))

    # -- before the brokers are asked -------------------------------------------------------------------

    def _begin(self, group: list[Sent]) -> None:
        now = time.monotonic()
        in_time = [sent for sent in group if now <= sent.one.deadline]
        asked = self._asked(in_time) if in_time else {}
        for sent in group:
            mine = asked.get(sent.auto.stored.order_id)
            if mine is None:
                self._alone(sent.broker, sent, partial(alone.dispatched, sent.one, sent.auto))
            else:
                with self._changed:
                    self._asking += 1
                self._start(sent.broker, partial(self._ask, sent, mine))

    def _asked(self, group: list[Sent]) -> dict[int, Asked]:
        call = group[0].one.call
        patience_s = min(sent.one.deadline for sent in group) - time.monotonic()
        try:
            with opened(call.sessions) as db:
                ids = [sent.auto.stored.order_id for sent in group]
                return begin_asking_all(db, call.settings, ids, max(LEAST_PATIENCE_S, patience_s))
        except OneByOne:
            return {}

    # -- a thread for each call -------------------------------------------------------------------------

    def _ask(self, sent: Sent, asked: Asked) -> None:
        said = None
        try:
            if may_begin(asked.order):
                said = ask(asked.client, asked.order)
            else:  # it stood in line behind calls that do not end
                _tell((sent, _outcome(sent, partial(alone.taken_back, sent.one, sent.auto, asked))))
        except AskedInVain:
            _tell((sent, sent.one.meanwhile))
        except BrokerError as refusal:
            _tell((sent, _outcome(sent, partial(alone.refused, sent.one, sent.auto, asked, refusal))))
        except Exception:  # nobody may wait in vain; what becomes of the order is found out later
            logger.exception("the dispatch of order %s broke", asked.order.id)
            _tell((sent, sent.one.meanwhile))
        with self._changed:
            self._asking -= 1
            if said is not None:
                self._to_end.append(Sent(sent.one, sent.auto, asked, said))
            self._changed.notify()

    def _alone(self, broker: str, sent: Sent, work: Callable[[], dict[str, Any]]) -> None:
        self._start(broker, lambda: _tell((sent, _outcome(sent, work))))

    # -- what they said ---------------------------------------------------------------------------------

    def _end(self, group: list[Sent]) -> None:
        try:
            with opened(group[0].one.call.sessions) as db:
                store_placed_all(db, [_placed(sent) for sent in group])
        except Exception as error:  # whatever it was, each answer of a broker is tried once more by itself
            logger.warning("what brokers said of %s orders is stored one by one: %s", len(group), error)
            for sent in group:
                asked, said = sent.asked, sent.said
                assert asked is not None and said is not None
                self._alone("", sent, partial(alone.placed, sent.one, sent.auto, asked, said))
            return
        _tell(*((sent, Answer(201, accepted(sent.auto.stored))) for sent in group))


def _outcome(sent: Sent, work: Callable[[], dict[str, Any]]) -> Answer | None:
    """Do the work; the answer that its result or its failure stands for."""
    try:
        return Answer(201, work())
    except HTTPException as failure:
        return Answer(failure.status_code, {"detail": failure.detail})
    except Exception:  # it is stored, and an error would say that it is not; what becomes of it shows later
        logger.exception("the dispatch of order %s broke", sent.auto.stored.order_id)
        return sent.one.meanwhile


def _tell(*ended: tuple[Sent, Answer | None]) -> None:
    for sent, answer in ended:
        sent.one.outcome = answer
    tell([sent.one for sent, _answer in ended])


def _placed(sent: Sent) -> Placed:
    assert sent.asked is not None and sent.said is not None
    what = Dispatch.of(sent.auto.signal, sent.auto.stored)
    return Placed(sent.asked, sent.said, what.correlation_id, what.closing_row)
