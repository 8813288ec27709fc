"""`make native-trial`: the native branch on a filled database under webhooks.

    fill -> backend and deliveries -> the branch, statement by statement, with its locks
    -> the backend again, with the plan of every statement -> indexes -> partitions

Exit codes: 0 done, 1 a delivery failed, or a statement went through a large table.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any, Final

import psycopg

from app.db.common.settings import ShimSettings
from app.db.session.runtime import make_runtime
from app.native import branch
from loadtests.bench.native import explained, partitions
from loadtests.bench.native.filling import CANDLES, LARGE, fill
from loadtests.bench.native.steps import Step, watched
from loadtests.burst.send.plan import POSTGRES, STORED, USERS
from loadtests.burst.world import Door, World
from loadtests.judge.figures import latency
from loadtests.stage.embedded import EmbeddedPostgres
from loadtests.stage.machine import machine
from loadtests.stage.processes import ADMIN, WEBHOOK_SECRET
from loadtests.traffic.ledger import Ledger, Outcome
from loadtests.traffic.sender import Sender
from loadtests.traffic.signals import Signals, fresh_run

RATE: Final = 20.0  # deliveries per second
WATCHED_S: Final = 20.0
PAGES: Final = (
    "/api/tv-alerts?limit=20",
    "/api/system-events/?limit=20",
    "/api/system-events/?order_id=12",
    "/api/system-events/?level=ERROR",
    "/api/system-events/?category=risk",
    "/api/orders/",
    "/api/orders/?status=WAITING&broker_name=zerodha",
    "/api/orders/?strategy_id=1",
    "/api/orders/queue",
    "/api/positions/",
    "/api/positions/daily",
    "/api/strategies/",
    "/api/market/history?symbol=S7&exchange=NSE&timeframe=5m&start=2026-11-02T09:15:00&end=2026-11-02T12:00:00",
    "/api/jobs/",
    "/api/jobs/orders/dead",
    "/api/jobs/deployments/dead",
)
LOOPS: Final = {
    "ST_RETENTION": "true",
    "ST_WEBHOOK_DISPATCH": "queue",
    "ST_ENABLE_DEPLOYMENTS_RUNTIME": "1",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the trial; returns the exit code."""
    chosen = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="st-native-") as base, EmbeddedPostgres() as server:
        found = trial(Path(base), server, chosen.rows, watched_s=chosen.seconds)
    found["command"] = f"make native-trial ROWS={chosen.rows}"
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    if chosen.json:
        chosen.json.write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    return int(bool(found["deliveries"]["failed"] or found["plans"]["walks"]))


def trial(base: Path, server: EmbeddedPostgres, rows: int, *, watched_s: float = WATCHED_S) -> dict[str, Any]:
    """The whole trial on a database of its own; its figures."""
    env = {**LOOPS, "ST_RETENTION_DIR": str(base / "archive")}
    world = World(base / "world", server, POSTGRES, name="native_trial", settings=env)
    world.make()
    with psycopg.connect(world.conninfo, autocommit=True) as connection:
        _say(f"filling with {rows:,} rows")
        filled = _seconds(lambda: fill(connection, rows))
        with _served(world) as (door, sender):
            time.sleep(watched_s / 2)
            steps, began, ended = _upgrade(world)
        answers = {
            "sent": len(sender.deliveries),
            "failed": sum(one.outcome in (Outcome.FAILED, Outcome.UNKNOWN) for one in sender.deliveries),
            "before": _latency(sender, 0, began),
            "during": _latency(sender, began, ended),
        }
        explained.explain_from_now_on(connection, "native_trial")
        connection.execute("SELECT pg_stat_reset()")
        with _served(world) as (door, _):
            until = time.monotonic() + watched_s
            while time.monotonic() < until:
                _look(door)
        plans = explained.plans(server.log, server.url("native_trial"), LARGE)
        indexes = explained.indexes(connection, LARGE)
        _say("partitions")
        parted = partitions.measure(connection)
    return {
        "date": date.today().isoformat(),
        "machine": machine(server),
        "rows": rows,
        "candles": rows * CANDLES,
        "fill_s": round(filled, 1),
        "deliveries": answers,
        "seconds": round(ended - began, 2),
        "steps": [_told(step) for step in steps],
        "plans": plans,
        "indexes": indexes,
        "partitions": parted,
    }


def _upgrade(world: World) -> tuple[list[Step], float, float]:
    _say("the native branch")
    runtime = make_runtime(world.env()["ST_DATABASE_URL"], ShimSettings(_env_file=None))
    began = time.time()
    try:
        with watched(world.conninfo) as steps:
            branch.upgrade(runtime)
    finally:
        runtime.stop()
    return steps, began, time.time()


@contextmanager
def _served(world: World) -> Iterator[tuple[Door, Sender]]:
    """A backend under deliveries."""
    ledger = Ledger(world.base / "ledger.jsonl")
    with world.backend() as door:
        signals = Signals(fresh_run(), USERS, seed=1, shapes=STORED)
        sender = Sender(signals, WEBHOOK_SECRET, ledger, target=door.port, rate=RATE)
        sender.start()
        try:
            yield door, sender
        finally:
            sender.stop()
            ledger.close()


def _look(door: Door) -> None:
    """A person logs in and looks at every page."""
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    name, password = ADMIN
    body = json.dumps({"username": name, "password": password}).encode()
    headers = {"Content-Type": "application/json"}
    opener.open(urllib.request.Request(f"{door.url}/api/auth/login", body, headers)).close()
    for page in PAGES:
        with contextlib.suppress(urllib.error.HTTPError):  # no broker gives the bars that are missing
            opener.open(door.url + page).read()


def _latency(sender: Sender, since: float, until: float) -> dict[str, float]:
    return {name: round(value, 1) for name, value in asdict(latency(sender.deliveries, since, until)).items()}


def _told(step: Step) -> dict[str, Any]:
    held = step.ms if step.short else step.held
    return {
        "statement": step.statement[:160],
        "ms": round(step.ms, 1),
        "held_ms": round(held, 1),
        "waited_ms": round(step.waited, 1),
        "others_waited_ms": round(step.others_waited, 1),
        "tries": step.tries,
    }


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make native-trial", description="The native branch under webhooks."
    )
    parser.add_argument(
        "--rows",
        type=int,
        default=1_000_000,
        help="alerts, orders and events each; candles: four times as many",
    )
    parser.add_argument("--seconds", type=float, default=WATCHED_S, help="how long plans are collected")
    parser.add_argument("--json", type=Path, help="write the figures there, instead of on stdout")
    return parser


if __name__ == "__main__":
    sys.exit(main())
