"""Switch: how long writers wait, over many switches back and forth under webhook load."""

from __future__ import annotations

import itertools
import time
from contextlib import closing

from app.db.common.urls import Side
from app.db.revisions.source import Alembic
from app.db.switch.coordinator import Coordinator, Moved
from loadtests.bench.lab.lab import Lab
from loadtests.bench.lab.pairs import close_applier, make_applier
from loadtests.bench.lab.samples import Part, Samples
from loadtests.judge.figures import pause
from loadtests.stage.processes import WEBHOOK_SECRET
from loadtests.stage.stage import DATABASE, Stage
from loadtests.traffic.ledger import Ledger, Outcome
from loadtests.traffic.sender import Sender
from loadtests.traffic.signals import Signals, fresh_run
from migration.fill.backfill import Backfill
from migration.fill.prepare import prepare
from migration.verify.run import Verify

MAX_PAUSE_MS = 1_500
BETWEEN_S = 0.5
RATE = 300.0  # deliveries per second, where the backend and the one sender carry so many
SHARE = 0.7  # of what they carry, at most


def run(lab: Lab) -> Part:
    """So many switches with the sample database behind a backend of two workers."""
    part = Part("switch", "Switches under webhook load")
    with Stage(workers=2, seed=lab.seed) as stage:
        stage.set_up()
        pair, applier = make_applier(stage.sqlite_path, stage.postgres_url)
        prepare(pair, applier.stores, Alembic(), report=lambda line: None)
        Backfill(applier).run()
        Verify(applier).run()
        _switches(lab, stage, part)
        close_applier(applier)
    return part


def _switches(lab: Lab, stage: Stage, part: Part) -> None:
    backend = stage.backend().start()
    with closing(Ledger(stage.ledger_path)) as ledger:
        signals = Signals(fresh_run(), stage.users, seed=lab.seed)
        sender = Sender(signals, WEBHOOK_SECRET, ledger, target=backend.port, rate=1.0)
        sender.rate = max(5.0, min(RATE, SHARE * sender.carries(lab.sizes.carry_s)))
        sender.start()
        begun = len(sender.deliveries)
        time.sleep(BETWEEN_S)
        moments = _move_to_and_fro(lab, stage, part)
        sender.stop()
    group = f"{lab.sizes.switches} switches at {sender.rate:.0f} deliveries per second"
    samples = Samples(group, "")
    for to, ended, reported in moments:
        seen = pause(sender.deliveries, ended - reported / 1000, ended)
        samples.add(f"to {to}", "reported pause", "ms", reported)
        samples.add(f"to {to}", "longest wait of a delivery", "ms", seen.wait)
        samples.add(f"to {to}", "longest time without an answer", "ms", seen.gap)
        held = sum(
            1 for delivery in sender.deliveries for attempt in delivery.attempts
            if attempt.at < ended and attempt.at + attempt.ms / 1000 > ended - reported / 1000
        )  # fmt: skip
        samples.add(f"to {to}", "deliveries held", "", held)
    outcomes = [delivery.outcome for delivery in sender.deliveries[begun:]]
    lost = sum(outcome in (Outcome.FAILED, Outcome.UNKNOWN) for outcome in outcomes)
    part.figures += samples.figures()
    part.notes.append(f"{len(outcomes):,} deliveries were sent meanwhile; {lost} of them failed")


def _move_to_and_fro(lab: Lab, stage: Stage, part: Part) -> list[tuple[Side, float, float]]:
    """(side, end, reported pause in ms) of each switch that was made."""
    moments: list[tuple[Side, float, float]] = []
    sides = itertools.cycle((Side.POSTGRES, Side.SQLITE))
    for _, to in zip(range(lab.sizes.switches), sides, strict=False):
        _, applier = make_applier(stage.sqlite_path, stage.postgres.url(DATABASE))
        outcome = Coordinator(applier, max_pause_ms=MAX_PAUSE_MS).move(to)
        ended = time.time()
        close_applier(applier)
        if not isinstance(outcome, Moved):
            part.notes.append(f"the switch to {to} was aborted: {outcome.reason}")
            break
        moments.append((to, ended, outcome.pause_ms))
        lab.say(f"switch to {to}: {outcome.pause_ms:.0f} ms")
        time.sleep(BETWEEN_S)
    return moments
