"""One delivery on its way to its answer.

    IN_LINE -> STORING -> ENDED     the usual way; STORING begins right before the commit
    IN_LINE -> LATE                 its time has passed: it is answered 503 and must not be stored
    STORING -> IN_LINE              its transaction was rolled back, and is tried again

The event loop's clock and the writer both move a delivery; each move names the state it starts from and is made
under one lock. So a delivery that was answered 503 in line is in no commit, and one that is in a commit is
answered when the outcome is known.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from app.core.config import Settings
from app.core.errors import Busy
from app.models import Order
from app.services.positions.sell_qty import TradingViewSellQtyResolution
from app.services.webhook.door import metrics
from app.services.webhook.receive import Arrival, Delivery, Ended

OPEN_S: Final = 0.45  # how long after its deadline the answer of a delivery in a commit may come
_moves = threading.Lock()


@dataclass(frozen=True)
class Answer:
    """What the sender is told: HTTP status and the JSON object."""

    status: int
    body: dict[str, Any]


class State(Enum):
    """Where a delivery is; the module says how it moves."""

    IN_LINE = auto()
    STORING = auto()
    LATE = auto()
    ENDED = auto()


@dataclass(frozen=True)
class Call:
    """What deliveries of one group have in common.

    Args:
        sessions: the request dependency that gives a session.
        create_order, market_is_open: functions that code written against the application may replace.
    """

    sessions: Callable[[], Any]
    settings: Settings
    create_order: Callable[..., Order]
    market_is_open: Callable[[], bool]

    @property
    def identity(self) -> tuple[int, ...]:
        """Equal for calls that may share a transaction."""
        return (id(self.sessions), id(self.settings), id(self.create_order), id(self.market_is_open))


@dataclass(eq=False, slots=True)
class Waiting:
    """A delivery that waits for its answer; times are those of `time.monotonic`."""

    received: Delivery | Ended
    arrival: Arrival
    call: Call
    arrived: float
    deadline: float
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Answer]
    held: TradingViewSellQtyResolution | None = None
    meanwhile: Answer | None = None  # it is stored; this is the answer when its dispatch takes too long
    state: State = State.IN_LINE
    outcome: Answer | BaseException | None = None

    def move(self, start: State, end: State) -> bool:
        """Move from one state to another; False if it is in neither."""
        with _moves:
            if self.state is not start:
                return False
            self.state = end
            return True

    async def answer(self) -> Answer:
        """Wait for the answer; at the latest shortly after the deadline there is one.

        Raises whatever ended the delivery, `Busy` when time ran out.
        """
        self.watch()
        return await self.future

    def watch(self) -> None:
        """See to it that the future has a result or an exception in time."""
        timer = self.loop.call_at(self._at(self.deadline), self._time_is_up)
        self.future.add_done_callback(lambda _: timer.cancel())

    def _at(self, moment: float) -> float:
        return self.loop.time() + moment - time.monotonic()

    def _time_is_up(self) -> None:
        if self.future.done():
            return
        if self.meanwhile is not None:
            self.future.set_result(self.meanwhile)
        elif self.move(State.IN_LINE, State.LATE):
            metrics.LATE.inc()
            self.future.set_exception(Busy("The delivery could not be stored in time; send it again."))
        elif time.monotonic() < self.deadline + OPEN_S:
            self.loop.call_at(self._at(self.deadline + OPEN_S), self._time_is_up)
        else:
            metrics.OPEN.inc()
            self.future.set_exception(
                Busy("Whether the delivery is stored was not known in time; send it again.")
            )

    def settle(self) -> None:
        """Hand the outcome to who waits; on the event loop."""
        if self.future.done():
            return
        if isinstance(self.outcome, BaseException):
            self.future.set_exception(self.outcome)
        else:
            assert self.outcome is not None
            self.future.set_result(self.outcome)


def begin_storing(group: Sequence[Waiting]) -> list[Waiting]:
    """Move a group into its commit, all or none; returns those for which it is too late."""
    now = time.monotonic()
    with _moves:
        late = [one for one in group if one.state is State.LATE or now > one.deadline]
        if not late:
            for one in group:
                one.state = State.STORING
    return late


def give_back(group: Sequence[Waiting]) -> None:
    """Their transaction was rolled back: the clock may take them out of the line again."""
    with _moves:
        for one in group:
            if one.state is State.STORING:
                one.state = State.IN_LINE


def tell(settled: Sequence[Waiting]) -> None:
    """Hand the outcomes of a group to who waits: one call per event loop."""
    now = time.monotonic()
    by_loop: dict[asyncio.AbstractEventLoop, list[Waiting]] = {}
    for one in settled:
        one.state = State.ENDED
        metrics.WAIT_SECONDS.observe(now - one.arrived)
        by_loop.setdefault(one.loop, []).append(one)
    for loop, of_loop in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, of_loop)


def _settle(group: list[Waiting]) -> None:
    for one in group:
        one.settle()
