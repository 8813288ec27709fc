"""Plays one burst against one world: senders, what goes on meanwhile, the settling, the judgement.

Everything is bounded: the senders end by themselves and are killed when they do not, a command too, and the
settling is waited for no longer than `SETTLE_S`.
"""

from __future__ import annotations

import json
import math
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

from loadtests.burst.meanwhile.commands import AHEAD_S, Command, rehearse
from loadtests.burst.meanwhile.faults import Fault, Scene
from loadtests.burst.meanwhile.late import LateAnswers
from loadtests.burst.send.plan import AUTO_USER, CALM, CUTOVER, FAULTS, KILLS, SHADOW_LATE, Burst
from loadtests.burst.send.processes import Senders, prepare_s, senders
from loadtests.burst.send.volley import RESEND_DELAY_S
from loadtests.burst.verdict import AtBroker, Tally, at_broker, tally
from loadtests.burst.world import Door, World, read_calls
from loadtests.judge.oracle import Verdict, judge
from loadtests.judge.sides import Database
from loadtests.traffic.ledger import Delivery, read_ledgers

SETTLE_S = 60.0
UNSETTLED = f"rows still changed, or the sides differed, {SETTLE_S:.0f} s after the burst"
PATIENT_S = 300.0  # an order that was left behind is looked at after two minutes, and then once a minute
STILL_S = 2.0  # so long nothing may change before a burst counts as settled
OPEN_STILL_S = 10.0  # the same while AUTO orders are open: their broker may be slow
LOOK_S = 0.05


@dataclass
class Outcome:
    """What one burst has shown.

    `began`: seconds since the epoch; `queue`: (seconds since then, deliveries in line) where the backend says so;
    `processor_s`: of the backend and `postgres_processor_s` of the server, from the begin until the burst has settled,
    because work goes on after senders gave up; `sender_processor_s`: of the senders while they sent;
    `settled_s`: when nothing changed any more, after the senders' end;
    `during`: what the command that ran meanwhile told; `problems`: what no figure names.
    """

    began: float
    deliveries: list[Delivery]
    tally: Tally
    verdict: Verdict
    broker: AtBroker
    queue: list[tuple[float, float]]
    processor_s: float
    postgres_processor_s: float
    sender_processor_s: float
    sender_late_p99_ms: float
    settled_s: float
    failed_writers: int
    metrics: dict[str, float] = field(default_factory=dict)
    during: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The figures, without the deliveries."""
        counts = {k: v for k, v in asdict(self.verdict).items() if isinstance(v, int)}
        counts |= {kind: self.verdict.count(kind) for kind in ("lost", "doubled", "different")}
        per = max(self.tally.deliveries, 1)
        broker = {k: v for k, v in asdict(self.broker).items() if isinstance(v, int)}
        return {
            "answers": asdict(self.tally),
            "oracle": counts,
            "broker": broker | {"findings": len(self.broker.findings)},
            "processor_ms_per_delivery": self.processor_s * 1000 / per,
            "postgres_processor_ms_per_delivery": self.postgres_processor_s * 1000 / per,
            "sender_processor_ms_per_delivery": self.sender_processor_s * 1000 / per,
            "sender_late_p99_ms": self.sender_late_p99_ms,
            "settled_s": self.settled_s,
            "failed_writers": self.failed_writers,
            "longest_queue": max((length for _, length in self.queue), default=None),
            "metrics": self.metrics,
            "during": self.during,
            "problems": self.problems,
        }


def play(
    world: World,
    burst: Burst,
    *,
    situation: str = CALM,
    resend_delay_s: float = RESEND_DELAY_S,
    patient: bool = False,
) -> Outcome:
    """One burst on a world that is made; Broken when a process does not do what it has to.

    `patient`: whether AUTO orders that a fault has left behind are waited for until a backend has settled each.
    """
    run = f"bc{time.time_ns():x}"
    with ExitStack() as stack:
        late = stack.enter_context(LateAnswers(world.server.port)) if situation == SHADOW_LATE else None
        door = stack.enter_context(world.backend(late.port if late else None))
        rehearsed = rehearse(world) if situation == CUTOVER else 0.0
        began = time.time() + max(prepare_s(burst.count), AHEAD_S + rehearsed)
        with (
            senders(
                world.base, door.port, burst, run, began, resend_delay_s, resend_cut=situation in KILLS
            ) as sending,
            Fault(Scene(world, door, late), situation, began)
            if situation in FAULTS
            else Command(world, situation, began, rehearsed) as meanwhile,
        ):
            _wait_until(began, meanwhile)
            processor, postgres = door.processor_s(), world.postgres_processor_s()
            queue = _watched(world, sending, meanwhile, began)
            ended, failed = time.time(), sending.failed()
            problems = meanwhile.finish(began)
        with world.sides() as sides:
            settled = settle(sides, run, left_behind=situation in FAULTS and patient)
            # What a killed process took is not known.
            processor = max(0.0, door.processor_s() - processor)
            postgres = max(0.0, world.postgres_processor_s() - postgres)
            if settled is None:
                problems.append(UNSETTLED)
            deliveries, counted, verdict, broker = _compared(world, sides, run, sending, situation, patient)
        problems += _strange(deliveries, burst, verdict, broker, meanwhile, began)
        if failed:
            problems.append((world.base / "sender.log").read_text(encoding="utf-8", errors="replace")[-800:])
        told = sending.told()
        return Outcome(
            began=began,
            deliveries=deliveries,
            tally=counted,
            verdict=verdict,
            broker=broker,
            queue=queue,
            processor_s=processor,
            postgres_processor_s=postgres,
            sender_processor_s=sum(one["processor_s"] for one in told),
            sender_late_p99_ms=max((one["late_p99_ms"] for one in told), default=0.0),
            settled_s=settled - ended if settled else SETTLE_S,
            failed_writers=failed + meanwhile.failed + (not door.running),
            metrics=_metrics(door),
            during=meanwhile.told,
            problems=problems,
        )


def _compared(
    world: World, sides: Sequence[Database], run: str, sending: Senders, situation: str, patient: bool
) -> tuple[list[Delivery], Tally, Verdict, AtBroker]:
    """What was sent, and what both databases and the broker have of it."""
    entries = read_ledgers(sending.ledgers)
    deliveries = [entry for entry in entries if isinstance(entry, Delivery)]
    primary = sides[-1] if situation == CUTOVER else sides[0]
    counted = tally(deliveries, _markers(primary, run), kills=situation in KILLS)
    may_be_open = situation in FAULTS and not patient
    broker = at_broker(_auto_orders(primary, run), read_calls(world.calls), may_be_open=may_be_open)
    return deliveries, counted, judge(run, entries, sides), broker


def _watched(
    world: World, sending: Senders, meanwhile: Command | Fault, began: float
) -> list[tuple[float, float]]:
    """Wait for the senders' end; returns the lengths of the line, with the seconds since the begin."""
    queue: list[tuple[float, float]] = []
    while sending.running and time.time() < sending.until:
        meanwhile.look()
        length = world.queue()
        if length is not None:
            queue.append((time.time() - began, length))
        time.sleep(LOOK_S)
    return queue


def _strange(
    deliveries: Sequence[Delivery],
    burst: Burst,
    verdict: Verdict,
    broker: AtBroker,
    meanwhile: Command | Fault,
    began: float,
) -> list[str]:
    """What no figure names."""
    found = [f"{f.kind} on {f.side}: {f.what}: {f.detail}" for f in verdict.findings[:10]]
    found += [f"{f.kind} at the {f.side}: {f.what}: {f.detail}" for f in broker.findings[:10]]
    if len(deliveries) != burst.count:
        found.append(f"{len(deliveries)} deliveries are in the ledgers, {burst.count} were planned")
    switched = meanwhile.told.get("switch_s", 0.0)
    if switched is None or not 0 <= switched <= _last_answer(deliveries) - began:
        found.append(f"the switch missed the burst: {switched} s after its begin")
    return found


def _last_answer(deliveries: Sequence[Delivery]) -> float:
    """When the last first attempt had its end, in seconds since the epoch."""
    return max((d.attempts[0].at + d.attempts[0].ms / 1000 for d in deliveries if d.attempts), default=0.0)


def _wait_until(moment: float, meanwhile: Command | Fault) -> None:
    while (left := moment - time.time()) > 0:
        meanwhile.look()
        time.sleep(min(left, LOOK_S))


def settle(sides: Sequence[Database], run: str, *, left_behind: bool = False) -> float | None:
    """Wait until the run's rows change no more and all sides hold the same; when that was, or None in vain.

    `left_behind`: whether that includes orders that a backend settles within minutes.
    """
    deadline, since, last = time.time() + (PATIENT_S if left_behind else SETTLE_S), time.time(), None
    still_s = math.inf if left_behind else OPEN_STILL_S
    while time.time() < deadline:
        seen = [_state(side, run) for side in sides]
        if seen != last or any(one != seen[0] for one in seen):
            since, last = time.time(), seen
        elif time.time() - since >= (still_s if seen[0].open_orders else STILL_S):
            return since
        time.sleep(STILL_S / 10)
    return None


@dataclass(frozen=True)
class _State:
    """How far a side has got. `open_orders`: AUTO orders that nobody has sent or put aside."""

    alerts: int
    orders: tuple[tuple[str, int], ...]
    open_orders: int


def _state(side: Database, run: str) -> _State:
    of_run = "FROM orders o JOIN alerts a ON a.id = o.alert_id WHERE a.raw_payload LIKE ?"
    alerts = side.select("SELECT count(*) AS n FROM alerts WHERE raw_payload LIKE ?", (_like(run),))
    orders = side.select(
        f"SELECT o.status, count(*) AS n {of_run} GROUP BY o.status ORDER BY o.status", (_like(run),)
    )
    left = side.select(
        f"SELECT count(*) AS n {of_run} AND o.mode = 'AUTO' AND o.status IN ('WAITING', 'SENDING')"
        " AND o.error_message IS NULL",
        (_like(run),),
    )
    return _State(alerts[0]["n"], tuple((row["status"], row["n"]) for row in orders), left[0]["n"])


def _like(run: str) -> str:
    return f'%"order_id":"{run}-%'


def _markers(side: Database, run: str) -> set[str]:
    rows = side.select("SELECT raw_payload FROM alerts WHERE raw_payload LIKE ?", (_like(run),))
    return {json.loads(row["raw_payload"])["order_id"] for row in rows}


def _auto_orders(side: Database, run: str) -> list[Mapping[str, Any]]:
    return side.select(
        "SELECT o.id, o.client_order_id, o.status, o.mode, o.error_message FROM orders o"
        " JOIN alerts a ON a.id = o.alert_id JOIN users u ON u.id = o.user_id"
        " WHERE u.username = ? AND a.raw_payload LIKE ?",
        (AUTO_USER, _like(run)),
    )


def _metrics(door: Door) -> dict[str, float]:
    """The webhook's own metrics after the burst; empty where the backend has none."""
    found: dict[str, float] = {}
    try:
        with urllib.request.urlopen(f"{door.url}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return {}
    for line in lines:
        if line.startswith("st_webhook_") and "_bucket" not in line and "_created" not in line:
            name, _, value = line.rpartition(" ")
            found[name] = float(value)
    return found
