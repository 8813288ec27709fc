"""Changes: what capture adds to a written row, how fast a backlog is applied, how far the shadow lags.

The backlog is held against the backfill of the same rows into the same server: both end as rows of
PostgreSQL, but apply has to find, delete and replace each by its key.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from app.db.apply.outcome import Round
from app.db.apply.round import Applier
from app.db.common.settings import DualWrite
from app.db.common.urls import Side
from loadtests.bench.lab import candles
from loadtests.bench.lab.lab import Lab, remove, timed
from loadtests.bench.lab.modes import Mode, field_of
from loadtests.bench.lab.pairs import close_applier, make_applier, move, prepare_candles
from loadtests.bench.lab.samples import Figure, Part, Samples
from loadtests.bench.parts.sessions import spend
from loadtests.judge.figures import percentile
from migration.fill.backfill import Backfill

PLAIN, CAPTURED = "without capture", "with capture"
BURST_THREADS = 8
POLL_S = 0.001
CATCH_UP_S = 60.0


def run(lab: Lab) -> Part:
    """Capture, backlog, lag."""
    part = Part("changes", "Capture, a backlog, and the lag of a burst")
    part.figures += _capture(lab) + _backlog(lab) + (_lag(lab) if lab.sizes.burst else [])
    return part


def _capture(lab: Lab) -> list[Figure]:
    rows = lab.sizes.capture_rows
    groups = {
        side: Samples(f"capture of {rows:,} inserts in one transaction, {side}", PLAIN) for side in Side
    }
    for repeat in range(lab.sizes.repeats):
        lab.say(f"changes, capture: repeat {repeat + 1}")
        path, url = lab.file("capture"), lab.database()
        candles.make(path, 0, seed=lab.seed)
        other = lab.copy_of(path)
        groups[Side.SQLITE].add(PLAIN, "time per row", "µs", _insert_sqlite(other, rows))
        bare = lab.database()
        with candles.connect(bare) as connection:
            for statement in (candles.POSTGRES_TABLE, *candles.POSTGRES_KEYS):
                connection.execute(statement.encode())
        groups[Side.POSTGRES].add(PLAIN, "time per row", "µs", _insert_postgres(bare, rows))
        applier = _copied(path, url)
        groups[Side.SQLITE].add(CAPTURED, "time per row", "µs", _insert_sqlite(path, rows))
        applier.round()
        move(applier, Side.POSTGRES)
        groups[Side.POSTGRES].add(CAPTURED, "time per row", "µs", _insert_postgres(url, rows))
        close_applier(applier)
        for file in (path, other):
            remove(file)
        for name in (url, bare):
            lab.drop(name)
    return [figure for samples in groups.values() for figure in samples.figures()]


def _copied(path: Path, url: str) -> Applier:
    prepare_candles(path, url)
    _, applier = make_applier(path, url)
    Backfill(applier).run()
    return applier


def _insert_sqlite(path: Path, rows: int) -> float:
    """Microseconds per row."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:

        def write() -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT INTO candles (symbol, exchange, timeframe, ts, open, high, low, close, volume) "
                "VALUES (?, 'NSE', '1m', '2026-02-02 09:15:00.000000', 1.5, 2.5, 0.5, 2.0, 100.0)",
                ((f"NEW{n}",) for n in range(rows)),
            )
            connection.execute("COMMIT")

        return timed(write) / rows * 1e6


def _insert_postgres(url: str, rows: int) -> float:
    """Microseconds per row."""
    with candles.connect(url) as connection:

        def write() -> None:
            connection.execute(
                "INSERT INTO candles (id, symbol, exchange, timeframe, ts, open, high, low, close, volume) "
                "SELECT 100000000 + n, 'PG' || n, 'NSE', '1m', '2026-02-02 09:15:00', 1.5, 2.5, 0.5, 2.0, 100.0 "
                "FROM generate_series(1, %s) AS n",
                (rows,),
            )

        return timed(write) / rows * 1e6


def _backlog(lab: Lab) -> list[Figure]:
    rows = lab.sizes.backlog
    samples = Samples(f"backlog of {rows:,} changed rows", "backfill of the same rows")
    original = lab.file("backlog")
    candles.make(original, rows, seed=lab.seed)
    for repeat in range(lab.sizes.long_repeats):
        lab.say(f"changes, backlog: repeat {repeat + 1}")
        path, url = lab.copy_of(original), lab.database()
        prepare_candles(path, url)
        _, applier = make_applier(path, url)
        lab.settle()
        samples.add("backfill of the same rows", "speed", "rows/s", rows / timed(Backfill(applier).run))
        lab.settle()
        applier.stores.sqlite.connection.execute("UPDATE candles SET volume = volume + 1")
        samples.add("apply on PostgreSQL", "speed", "rows/s", _apply(applier, rows))
        move(applier, Side.POSTGRES)
        with candles.connect(url) as connection:
            connection.execute("UPDATE candles SET volume = volume + 1")
        lab.settle()
        samples.add("apply on SQLite", "speed", "rows/s", _apply(applier, rows))
        close_applier(applier)
        remove(path)
        lab.drop(url)
    remove(original)
    return samples.figures()


def _apply(applier: Applier, rows: int) -> float:
    """Changes per second of the round that takes them all."""
    outcome = applier.round()
    if not isinstance(outcome, Round) or outcome.changes < rows:
        raise RuntimeError(f"the round did not take the backlog: {outcome}")
    return outcome.changes / outcome.seconds


def _lag(lab: Lab) -> list[Figure]:
    """Time from a change's log entry to the watermark that covers it, while 8 threads commit at full speed."""
    field = field_of(lab)
    samples = Samples(f"lag in a burst of {lab.sizes.burst:,} commits by {BURST_THREADS} threads", "")
    for repeat in range(lab.sizes.repeats):
        lab.say(f"changes, lag: repeat {repeat + 1}")
        for dual in (DualWrite.ASYNC, DualWrite.SYNC):
            with field.open(Mode(f"SQLite, {dual}", dual=dual)) as (factory, _):
                spend(factory, 1, 5)
                lags = watch(
                    field.pair_of(Side.SQLITE), lambda f=factory: spend(f, BURST_THREADS, lab.sizes.burst)
                )
            samples.add(dual.value, "lag p50", "ms", percentile(lags, 0.5))
            samples.add(dual.value, "lag p99", "ms", percentile(lags, 0.99))
    return samples.figures()


def watch(pair: tuple[Path, str], what: Callable[[], object]) -> list[float]:
    """The lag in ms of every change that is logged while something runs, by looking every millisecond."""
    path, url = pair
    working = threading.Thread(target=what, daemon=True)
    waiting: list[tuple[int, float]] = []
    lags: list[float] = []
    with closing(sqlite3.connect(path)) as lite, candles.connect(url) as postgres:
        seen = int(lite.execute("SELECT coalesce(max(seq), 0) FROM st_change_log").fetchone()[0])
        working.start()
        deadline: float | None = None
        while working.is_alive() or waiting:
            row = postgres.execute("SELECT position::bigint FROM st_watermark").fetchone()
            assert row is not None
            now, applied = time.time(), int(str(row[0]))
            fresh = lite.execute(
                "SELECT seq, at FROM st_change_log WHERE seq > ? ORDER BY seq", (seen,)
            ).fetchall()
            waiting += fresh
            seen = fresh[-1][0] if fresh else seen
            lags += [max(0.0, now - at) * 1000 for seq, at in waiting if seq <= applied]
            waiting = [item for item in waiting if item[0] > applied]
            if not working.is_alive():
                deadline = deadline or time.monotonic() + CATCH_UP_S
                if time.monotonic() > deadline:
                    raise RuntimeError(f"the shadow did not catch up within {CATCH_UP_S:g} s")
            time.sleep(POLL_S)
    return lags
