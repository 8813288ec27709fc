"""Backfill: copy every row to PostgreSQL while the application goes on writing.

A chunk is one transaction on PostgreSQL, in this order:

1. take the range (SKIP LOCKED, so several workers share the work) and a shared lock on the watermark. No
   round of apply can take place until this chunk is committed;
2. open a read transaction on SQLite and read the chunk;
3. let the chunks before this one go first, if other workers have them;
4. delete what the shadow holds in that key interval (rows that apply inserted ahead of the copy). COPY, note
   the last key, and commit.

The chunk is read after the watermark was fixed, so it is never older than what has been applied. Copy, update and
apply end with the newest row in every order. A row that was deleted meanwhile is either not read or deleted by the
log. Rows that
PostgreSQL cannot hold go to quarantine in the same transaction. Secondary indexes and unique constraints
are built after the last chunk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial

import psycopg
from psycopg import errors as pg_errors

from app.db.apply.round import Applier
from app.db.common.errors import Refused, StaleAttempt
from app.db.common.failpoints import Failpoint, failpoint
from app.db.common.urls import Side
from app.db.rows import key_sql, keys
from app.db.rows.catalog import Row, Table, keep_spellings, quote, quote_with_parameters
from app.db.rows.spelling import Spelling
from app.db.sides.capture.inventory import check_postgres_inventory
from app.db.sides.capture.triggers import capture_inserts
from app.db.sides.control import advance, postgres_control
from app.db.sides.locks import hold_rounds, mark_applying_postgres
from app.db.sides.phase import Phase
from app.db.sides.postgres import deferred
from app.db.sides.postgres.connection import ROW_ERRORS
from app.db.sides.postgres.target import PostgresTarget
from app.db.sides.sqlite.connection import stream
from app.db.sides.sqlite.spellings import learn
from migration.common.pace import Throttle, keep_within
from migration.fill.binary import OutOfRange
from migration.fill.ranges import ends, range_on_sqlite
from migration.fill.stream import ChunkStream, read

Step = Callable[[str], None]
CHUNK_ROWS = 50_000  # a commit each: apply waits for as long, a third of a second
TURN_S = 2  # how long a chunk waits for those before it: a worker may be slow, or stopped
ROUND_S = 0.2  # between rounds of apply while indexes are built
CAREFUL_ROWS = 200  # while looking for a row that only the server can tell is bad


@dataclass(frozen=True)
class Progress:
    """One committed chunk."""

    table: str
    rows: int
    quarantined: int


@dataclass(frozen=True)
class _Range:
    table: str
    n: int
    cursor: str | None
    upto: str | None


class Backfill:
    """Copies all ranges; may run in several processes at once, and again after any crash.

    Args:
        applier: the pair, through connections of this backfill's own.
        throttle: limits.
        chunk_rows: rows per transaction.
        together: whether other processes copy at the same time. Chunks are then read and encoded before
            they are sent, because they are sent one after the other.
    """

    def __init__(
        self,
        applier: Applier,
        throttle: Throttle | None = None,
        chunk_rows: int = CHUNK_ROWS,
        *,
        together: bool = False,
    ) -> None:
        self._applier = applier
        self._throttle = throttle or Throttle()
        self._chunk_rows = chunk_rows
        self._together = together

    def run(self, report: Callable[[Progress], None] = lambda _: None, step: Step = lambda _: None) -> int:
        """Copy what is left, then build the indexes and move to `replicating`; `step` hears of each index first.

        Returns:
            Rows copied by this call.

        Raises:
            Refused: the pair is not in a phase that copies.
        """
        phase = self._applier.stores.postgres.read_control().phase
        if phase == Phase.REPLICATING:
            return 0
        if phase != Phase.COPYING:
            raise Refused(f"the pair is in phase {phase}", hint="run st-migrate prepare")
        total = sum(progress.rows for progress in self._chunks(report))
        self.finish(step)
        return total

    def _chunks(self, report: Callable[[Progress], None]) -> Iterator[Progress]:
        careful = 0
        while True:
            self._wait_while_paused()
            started = time.monotonic()
            try:
                progress = self._chunk(CAREFUL_ROWS if careful else self._chunk_rows, careful=careful > 0)
            except (*ROW_ERRORS, OutOfRange) as error:
                if careful:
                    raise Refused(
                        f"a row cannot be copied: {_told(error)}",
                        hint="run st-migrate preflight, which names the rows",
                    ) from error
                careful = 1 + self._chunk_rows // CAREFUL_ROWS
                continue
            careful = max(0, careful - 1)
            if progress is None:
                return
            failpoint(Failpoint.COPY_AFTER_COMMIT)
            report(progress)
            yield progress
            self._let_apply_catch_up()
            limit = partial(self._throttle.limit, self._applier.stores.postgres)
            keep_within(limit, progress.rows, started)

    def _wait_while_paused(self) -> None:
        while self._applier.stores.postgres.read_control().paused:
            time.sleep(0.2)

    def _let_apply_catch_up(self) -> None:
        entries = self._applier.stores.sqlite.connection.execute(
            "SELECT count(*) FROM (SELECT 1 FROM st_change_log WHERE seq > ? LIMIT ?)",
            (int(self._applier.stores.postgres.read_position()), self._throttle.max_lag + 1),
        ).fetchone()[0]
        if entries > self._throttle.max_lag:
            self._applier.round()

    def _chunk(self, rows: int, *, careful: bool) -> Progress | None:
        """Copy the next chunk of any range. None when no range is left to this worker."""
        store = self._applier.stores.postgres
        with store.write() as connection:
            row = connection.execute(
                "SELECT tbl, n, cursor, upto FROM st_copy_range WHERE NOT done "
                "ORDER BY tbl, n FOR UPDATE SKIP LOCKED LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            part = _Range(*row)
            connection.execute("SET LOCAL synchronous_commit = off")
            hold_rounds(connection, shared=True)
            control = postgres_control(connection)
            if control.phase != Phase.COPYING or control.primary is not Side.SQLITE:
                raise StaleAttempt(f"the pair went to phase {control.phase}", hint="see st-migrate status")
            mark_applying_postgres(connection, control.epoch)
            target = store.writer(control, quarantined=True, careful=careful)
            table = self._applier.schema()[part.table]
            copied, refused, last = self._copy(target, table, part, rows)
            connection.execute(
                "UPDATE st_copy_range SET cursor = %s, done = %s, rows = rows + %s WHERE tbl = %s AND n = %s",
                (last if last is not None else part.cursor, last is None, copied, part.table, part.n),
            )
            failpoint(Failpoint.COPY_BEFORE_COMMIT)
        return Progress(part.table, copied, refused)

    def _copy(
        self, target: PostgresTarget, table: Table, part: _Range, rows: int
    ) -> tuple[int, int, str | None]:
        """Copy one chunk. Returns rows copied, rows refused and the last key, None at the range's end."""
        sqlite = self._applier.stores.sqlite.connection
        sqlite.execute("BEGIN")
        try:
            last = self._chunk_end(table, part, rows)
            upto = last if last is not None else part.upto
            failpoint(Failpoint.COPY_CHUNK_READ)
            batches = self._rows(table, part.cursor, upto)
            if keys.may_coincide(table):
                self._clear_keys(target, table, part.cursor, upto)
            if target.careful:
                self._clear(target, table, part.cursor, upto)
                copied, refused = _insert(target, table, batches)
            else:
                chunk = ChunkStream(table, batches)
                if self._together:
                    chunk.read_ahead()
                    self._wait_for_turn(target, part)
                self._clear(target, table, part.cursor, upto)
                chunk.write(target)
                copied, refused = chunk.copied, len(chunk.rejected)
        finally:
            sqlite.rollback()
        return copied, refused, last

    @staticmethod
    def _wait_for_turn(target: PostgresTarget, part: _Range) -> None:
        """Wait until no other worker has an earlier part of the table in hand, or for TURN_S."""
        if not part.n:
            return
        try:
            with target.connection.transaction():
                target.connection.execute(f"SET LOCAL lock_timeout = '{TURN_S}s'".encode())
                target.connection.execute(
                    "SELECT 1 FROM st_copy_range WHERE tbl = %s AND n < %s AND NOT done FOR KEY SHARE",
                    (part.table, part.n),
                )
                target.connection.execute("SET LOCAL lock_timeout TO DEFAULT")
        except pg_errors.LockNotAvailable:
            pass  # only the order in which rows are laid out suffers

    def _chunk_end(self, table: Table, part: _Range, rows: int) -> str | None:
        """The key that ends a chunk of so many rows, as JSON. None if the range ends with it or before."""
        if table.integer_key and part.cursor and part.upto:
            (after,), (upto,) = keys.from_bound(part.cursor), keys.from_bound(part.upto)
            if upto - after <= rows:
                return None
        where, parameters = range_on_sqlite(table, part.cursor, part.upto)
        following = stream(
            self._applier.stores.sqlite.connection,
            f"SELECT {key_sql.names(table)} FROM {quote(table.name)} {where} "
            f"ORDER BY {key_sql.order_on_sqlite(table)} LIMIT -1 OFFSET {rows - 1}",
            parameters,
            fetch=1,
        )
        for (values,) in following:
            if keys.canonical(table, values) is not None:
                last = keys.to_bound(values)
                return None if last == part.upto else last
        return None

    def _rows(self, table: Table, after: str | None, upto: str | None) -> Iterator[list[Row]]:
        where, parameters = range_on_sqlite(table, after, upto)
        columns = ", ".join(quote(column.name) for column in table.columns)
        return read(
            self._applier.stores.sqlite.connection,
            f"SELECT {columns} FROM {quote(table.name)} {where}",
            parameters,
        )

    @staticmethod
    def _clear(target: PostgresTarget, table: Table, after: str | None, upto: str | None) -> None:
        """Remove what apply inserted ahead of the copy.

        Where the sides may put keys in another order, `_clear_keys` has done it.
        """
        if keys.may_coincide(table):
            return
        where, parameters = key_sql.range_on_postgres(table, *ends(after, upto))
        target.connection.execute(
            f"DELETE FROM {quote_with_parameters(table.name)} {where}".encode(), parameters
        )

    def _clear_keys(self, target: PostgresTarget, table: Table, after: str | None, upto: str | None) -> None:
        """Remove the rows of these very keys, and no other of the interval: they may come in another chunk."""
        where, parameters = range_on_sqlite(table, after, upto)
        statement = f"SELECT {key_sql.names(table)} FROM {quote(table.name)} {where}"
        for rows in stream(self._applier.stores.sqlite.connection, statement, parameters):
            found = [key for row in rows if (key := keys.canonical(table, row)) is not None]
            target.delete_keys(table, found)

    def finish(self, step: Step = lambda _: None) -> None:
        """Catch up, build indexes and unique constraints, move to `replicating`. Harmless to repeat.

        The last step adds what `prepare` left out of capture, in the transaction that changes the phase.
        """
        store = self._applier.stores.postgres
        left = store.connection.execute("SELECT count(*) FROM st_copy_range WHERE NOT done").fetchone()
        if left is None or left[0]:
            return
        self._applier.drain()
        with self._learning() as spellings:
            self._build_indexes(step)
            self._analyze()
            learnt = spellings.result()
        with store.write() as connection:
            keep_spellings(connection, learnt)
        with store.write() as connection:
            hold_rounds(connection)
            control = postgres_control(connection, lock=True)
            if control.phase == Phase.COPYING:
                self._applier.forget_schema()
                schema = self._applier.schema()
                capture_inserts(connection, schema)
                advance(connection, Phase.COPYING, Phase.REPLICATING, control.epoch)
                check_postgres_inventory(connection, schema)
        failpoint(Failpoint.COPY_DONE)

    @contextmanager
    def _learning(self) -> Iterator[Future[dict[tuple[str, str], Spelling]]]:
        """A thread finds out meanwhile how the application spells what it stores, for rows that come back one day."""
        with (
            closing(self._applier.stores.sqlite.another()) as connection,
            ThreadPoolExecutor(1, "st-spellings") as thread,
        ):
            try:
                yield thread.submit(learn, connection, self._applier.schema())
            finally:
                connection.interrupt()  # an index that cannot be built does not wait for the rest

    def _build_indexes(self, step: Step) -> None:
        applied = 0.0
        for name, table in deferred.build_indexes(self._applier.stores.postgres.connection):
            step(f"index {name} of {table}")
            if time.monotonic() - applied > ROUND_S:
                self._applier.round(even_if_paused=True)
                applied = time.monotonic()

    def _analyze(self) -> None:
        """Statistics of what was copied; the rest is left to the server."""
        if names := ", ".join(map(quote, self._applier.schema())):
            with self._applier.stores.postgres.write() as connection:
                connection.execute("SET LOCAL synchronous_commit = off")
                connection.execute(f"ANALYZE {names}".encode())


def _insert(target: PostgresTarget, table: Table, batches: Iterator[list[Row]]) -> tuple[int, int]:
    """Write a few rows one by one. Returns rows copied and rows refused."""
    rows = [row for batch in batches for row in batch]
    refused = target.insert(table, [rows] if rows else [])
    return len(rows) - refused, refused


def _told(error: Exception) -> str:
    told = (
        isinstance(error, psycopg.Error) and f"{error.diag.message_primary} {error.diag.message_detail or ''}"
    )
    return told or str(error)
