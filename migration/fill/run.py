"""Backfill with one or several processes, and how far it has come.

Workers are processes of their own because the copy is bound by the processor. They share the ranges in
PostgreSQL. What a worker leaves behind, killed or not, another takes over.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from app.db.apply.round import Applier
from app.db.common.errors import SwitchError
from app.db.common.urls import Pair
from app.db.sides.phase import Phase
from app.db.sides.postgres.store import PostgresStore
from migration.common.pace import Throttle
from migration.common.render import Advance
from migration.fill import process as copy_worker
from migration.fill.backfill import Backfill, Progress

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


def left(postgres: PostgresStore) -> int:
    """About how many rows are still to be copied."""
    now = progress(postgres)
    return max(0, now.expected - now.rows)


def backfill(pair: Pair, applier: Applier, throttle: Throttle, workers: int | None, advance: Advance) -> int:
    """Copy what is left. Returns the rows that this call copied.

    Args:
        workers: processes that copy, this one among them; None: two where there is enough to do.

    Raises:
        Refused: the pair is not in a phase that copies.
        SwitchError: a worker failed; the same command goes on.
    """
    before = progress(applier.stores.postgres)
    expected = {table.table: table.expected for table in before.tables}

    def report(chunk: Progress) -> None:
        advance(chunk.table, chunk.rows, expected.get(chunk.table))

    def step(name: str) -> None:
        advance(name, 0, 0)

    helpers = (workers or _fitting(before)) - 1
    if helpers and applier.stores.postgres.read_control().phase == Phase.COPYING:
        _with_helpers(pair, applier, throttle, helpers, advance, step)
    Backfill(applier, throttle).run(report, step)
    return progress(applier.stores.postgres).rows - before.rows


def _fitting(now: CopyProgress) -> int:
    """A second process takes a second to start; more than two would need more memory than is promised."""
    return 2 if now.expected - now.rows >= SECOND_WORKER_ROWS and (os.cpu_count() or 1) > 1 else 1


def _with_helpers(
    pair: Pair,
    applier: Applier,
    throttle: Throttle,
    helpers: int,
    advance: Advance,
    step: Callable[[str], None],
) -> None:
    """Copy in this process and in helpers, until this one finds nothing more to take and they have ended."""
    throttle = replace(throttle, share=helpers + 1)
    processes = [copy_worker.start(pair, throttle) for _ in range(helpers)]
    shown = {table.table: table.rows for table in progress(applier.stores.postgres).tables}
    try:
        Backfill(applier, throttle, together=True).run(
            lambda chunk: _show(progress(applier.stores.postgres), shown, advance), step
        )
        for process in processes:
            while _is_running(process):
                _show(progress(applier.stores.postgres), shown, advance)
    finally:
        for process in processes:
            process.terminate()
        said = [process.communicate()[0].strip() for process in processes]
    if failures := list(filter(None, said)):
        raise SwitchError(failures[0], hint="run the same command again, it goes on from there")


def _is_running(process: subprocess.Popen[str]) -> bool:
    """Whether a process runs still, after a moment of waiting for its end."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(POLL_S)
    return process.returncode is None


def _show(now: CopyProgress, shown: dict[str, int], advance: Advance) -> None:
    for table in now.tables:
        if fresh := table.rows - shown.get(table.table, 0):
            shown[table.table] = table.rows
            advance(table.table, fresh, table.expected)
