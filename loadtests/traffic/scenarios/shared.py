"""What the users of one locust process share: the stream of signals, the ledger, the orders to work on."""

from __future__ import annotations

import random
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import gevent

from loadtests.traffic.ledger import Delivery, Ledger, Outcome
from loadtests.traffic.profiles import Profile
from loadtests.traffic.shapes import Shape, Signal
from loadtests.traffic.signals import Signals, fresh_run

KEPT_ORDERS = 500
EVERY_S = 1.0


class Paced:
    """Users that do something once a second, each at a moment of its own within the second.

    Locust's own pacing counts from when a user was made: users that begin together then go on doing
    everything at the same instant, which is a burst every second instead of an even stream.
    """

    def on_start(self) -> None:
        """Wait for this user's moment."""
        self._due = time.monotonic() + random.random() * EVERY_S
        gevent.sleep(self._due - time.monotonic())

    def wait_time(self) -> float:
        """Seconds until the next task is due; a user that is late does not catch up."""
        self._due = max(self._due + EVERY_S, time.monotonic())
        return self._due - time.monotonic()


@dataclass
class Shared:
    """State of a run.

    `orders` holds ids of acknowledged orders that no user works on at the moment.
    """

    profile: Profile
    signals: Signals
    secret: str
    admin: tuple[str, str]
    ledger: Ledger
    orders: deque[int] = field(default_factory=lambda: deque(maxlen=KEPT_ORDERS))

    def next(self) -> tuple[Signal, Shape]:
        """The next signal to send, noted in the ledger."""
        signal, shape = self.signals.next()
        self.ledger.begin(signal.marker, shape.name, shape.expected(signal))
        return signal, shape

    def ended(self, delivery: Delivery) -> None:
        """Write a delivery down."""
        self.ledger.write(delivery)
        if delivery.outcome is Outcome.ACKNOWLEDGED and delivery.order_id is not None:
            self.orders.append(delivery.order_id)


def make(
    profile: Profile, *, run: str, senders: list[str], secret: str, admin: tuple[str, str], ledger: Path
) -> Shared:
    """The state of a new run; an empty `run` gets a prefix of its own."""
    signals = Signals(run or fresh_run(), senders, seed=profile.seed, skew=profile.skew)
    return Shared(profile, signals, secret, admin, Ledger(ledger))
