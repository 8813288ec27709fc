"""Backfill with one or several processes, and how far it has come.

Workers are processes of their own because the copy is bound by the processor; they share the ranges in
PostgreSQL, so what one leaves behind, killed or not, another takes over.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from app.db.apply import Applier
from app.db.errors import SwitchError
from app.db.phase import Phase
from app.db.store_postgres import PostgresStore
from app.db.urls import Pair, parse_url
from migration.backfill import Backfill, Progress, Throttle
from migration.failures import failure, secrets_of
from migration.render import Advance
from migration.sides import open_applier

POLL_S = 0.2
SECOND_WORKER_ROWS = 500_000


@dataclass(frozen=True)
class TableProgress:
    """Rows copied of one table, and how many there were when it was prepared."""

    table: str
    rows: int
    expected: int
    done: bool


@dataclass(frozen=True)
class CopyProgress:
    """The whole copy; `eta_seconds` is None when it is done or too young to tell."""

    rows: int
    expected: int
    done: bool
    eta_seconds: float | None
    tables: tuple[TableProgress, ...]

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "tables": [asdict(table) for table in self.tables]}


def progress(postgres: PostgresStore) -> CopyProgress:
    """How far the copy is, from the ranges that PostgreSQL keeps."""
    tables = tuple(
        TableProgress(*row)
        for row in postgres.connection.execute(
            "SELECT tbl, sum(rows)::bigint, sum(expected)::bigint, bool_and(done) "
            "FROM st_copy_range GROUP BY tbl ORDER BY tbl"
        ).fetchall()
    )
    rows, expected = sum(t.rows for t in tables), sum(t.expected for t in tables)
    done = all(t.done for t in tables)
    started = postgres.connection.execute(
        "SELECT max(at) FROM st_history WHERE event = %s", (f"phase {Phase.COPYING}",)
    ).fetchone()
    eta = None
    if not done and rows and started and started[0] is not None:
        eta = max(0.0, expected - rows) * max(0.0, time.time() - started[0]) / rows
    return CopyProgress(rows, expected, done, eta, tables)


def backfill(pair: Pair, applier: Applier, throttle: Throttle, workers: int | None, advance: Advance) -> int:
    """Copy what is left; returns the rows that this call copied.

    Args:
        workers: processes that copy, this one among them; None: two where there is enough to do.

    Raises:
        Refused: the pair is not in a phase that copies.
        SwitchError: a worker failed; the same command goes on.
    """
    before = progress(applier.postgres)
    expected = {table.table: table.expected for table in before.tables}

    def report(chunk: Progress) -> None:
        advance(chunk.table, chunk.rows, expected.get(chunk.table))

    helpers = (workers or _fitting(before)) - 1
    if helpers and applier.postgres.read_control().phase == Phase.COPYING:
        _with_helpers(pair, applier, throttle, helpers, advance)
    Backfill(applier, throttle).run(report)
    return progress(applier.postgres).rows - before.rows


def _fitting(now: CopyProgress) -> int:
    """A second process takes a second to start; more than two would need more memory than is promised."""
    return 2 if now.expected - now.rows >= SECOND_WORKER_ROWS and (os.cpu_count() or 1) > 1 else 1


def _with_helpers(pair: Pair, applier: Applier, throttle: Throttle, helpers: int, advance: Advance) -> None:
    """Copy in this process and in helpers, until this one finds nothing more to take and they have ended."""
    context = multiprocessing.get_context("spawn")
    failures = context.SimpleQueue()
    urls = tuple(url.render_as_string(hide_password=False) for url in (pair.sqlite, pair.postgres))
    throttle = replace(throttle, rate=throttle.rate / (helpers + 1) if throttle.rate else None)
    processes = [
        context.Process(target=_work, args=(urls, throttle.rate, throttle.max_lag, failures), daemon=True)
        for _ in range(helpers)
    ]
    for process in processes:
        process.start()
    shown = {table.table: table.rows for table in progress(applier.postgres).tables}
    try:
        Backfill(applier, throttle).run(lambda chunk: _show(progress(applier.postgres), shown, advance))
        while any(process.is_alive() for process in processes):
            _show(progress(applier.postgres), shown, advance)
            processes[0].join(POLL_S) if processes[0].is_alive() else time.sleep(POLL_S)
    finally:
        for process in processes:
            process.terminate()
            process.join()
    if not failures.empty():
        raise SwitchError(failures.get(), hint="run the same command again, it goes on from there")


def _show(now: CopyProgress, shown: dict[str, int], advance: Advance) -> None:
    for table in now.tables:
        if fresh := table.rows - shown.get(table.table, 0):
            shown[table.table] = table.rows
            advance(table.table, fresh, table.expected)


def _work(urls: tuple[str, str], rate: float | None, max_lag: int, failures: Any) -> None:
    """One worker process."""
    sqlite, postgres = (parse_url(url, name="url") for url in urls)
    try:
        with open_applier(Pair(sqlite, postgres)) as applier:
            Backfill(applier, Throttle(rate=rate, max_lag=max_lag)).run()
    except Exception as error:  # whatever it is, the parent process tells it
        failures.put(failure(error, secrets_of(postgres)).message)
