"""The demo's traffic: one sender in a thread of this process, at a rate that the machine carries.

The rate begins at half of what the backend acknowledges at full speed. After the long steps the sender goes
faster or slower, as far as answers stay quick.
"""

from __future__ import annotations

import time
from pathlib import Path

from loadtests.judge.figures import latency
from loadtests.show.lines import Lines
from loadtests.stage.processes import WEBHOOK_SECRET, Backend
from loadtests.stage.stage import Stage
from loadtests.traffic.ledger import Delivery, Ledger, Outcome
from loadtests.traffic.sender import Sender
from loadtests.traffic.signals import Signals, fresh_run

LOWEST_RATE = 4.0
FIT_S = 2.0  # how long the backend is asked what it carries
RECENT_S = 2.0
QUICK_MS, SLOW_MS = 400, 1200  # p99 below which the sender goes faster, above which it goes slower
LONG_STEPS = ("prepare", "backfill")


class OneSender:
    """See `loadtests.run.traffic.Traffic`.

    Args:
        stage: whose users send; the ledger is in its directory.
        lines: where rates are told.
        rate: deliveries per second that are aimed at.
        observe_s: how long the traffic is watched before the first command, and after a switch.
        seed: for the signals.
    """

    def __init__(self, stage: Stage, lines: Lines, *, rate: float, observe_s: float, seed: int) -> None:
        self.marker = fresh_run()
        self.deliveries: list[Delivery] = []
        self.ledgers: list[Path] = [stage.ledger_path]
        self.look_s = max(1.0, observe_s)
        self._stage = stage
        self._lines = lines
        self._target_rate = rate
        self._observe_s = observe_s
        self._seed = seed
        self._sender: Sender | None = None

    def start(self, backend: Backend) -> None:
        """Find a rate, send, and watch for a while."""
        signals = Signals(self.marker, self._stage.users, seed=self._seed)
        ledger = Ledger(self._stage.ledger_path)
        sender = self._sender = Sender(signals, WEBHOOK_SECRET, ledger, target=backend.port, rate=LOWEST_RATE)
        self.deliveries = sender.deliveries
        carries = sender.carries(FIT_S)
        sender.rate = min(self._target_rate, max(LOWEST_RATE, carries / 2))
        sender.start()
        self._lines.step(
            f"the file as it is carries {carries:.0f} webhooks/s here; sending {sender.rate:.0f}/s"
        )
        time.sleep(self._observe_s)

    def before_switch(self, lead_s: float) -> None:
        """Any moment is as good as another."""

    def after(self, step: str) -> None:
        """Bring the rate nearer to what is aimed at, as far as answers stay quick."""
        if step not in LONG_STEPS:
            return
        assert self._sender
        now = time.time()
        p99 = latency(self.deliveries, now - RECENT_S, now).p99
        if p99 < QUICK_MS:
            self._sender.rate = min(self._target_rate, self._sender.rate * 2)
        elif p99 > SLOW_MS:
            self._sender.rate = max(LOWEST_RATE, self._sender.rate / 2)
        self._lines.step(f"p99 of the last answers {p99:.0f} ms; sending {self._sender.rate:.0f}/s now")

    def turn_to(self, backend: Backend) -> None:
        """Send to another backend from now on."""
        assert self._sender
        self._sender.target = backend.port

    def counted(self) -> str:
        """What has arrived so far."""
        arrived = sum(delivery.outcome is Outcome.ACKNOWLEDGED for delivery in self.deliveries)
        not_known = sum(delivery.outcome in (Outcome.FAILED, Outcome.UNKNOWN) for delivery in self.deliveries)
        return f"{arrived} webhooks acknowledged, {not_known} not"

    def stop(self) -> None:
        """Send nothing new and wait for all answers."""
        if self._sender:
            self._sender.stop()

    kill = stop
