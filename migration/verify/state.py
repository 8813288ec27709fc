"""How far a verify has come and what it found, on PostgreSQL, so that a killed run can go on.

`st_verify` holds the last full run only: who, at which epoch, from which log position on. Every statement
names the run and the epoch. So a run that was replaced, or over which the sides were switched, writes nothing
more. The end of a run's name stands for the schema it compared and for its stamp. So a new run starts after a
migration, or when tables were rewritten.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from app.db.apply.compare import Mismatch
from app.db.common.errors import StaleAttempt
from app.db.rows import keys
from app.db.rows.catalog import Schema
from app.db.rows.keys import Key
from app.db.sides.control import Control
from app.db.sides.phase import record as record_history
from app.db.sides.stores import Stores
from app.db.switch.state.readiness import verify_mark

LISTED = 1_000  # mismatches that a result carries; st_mismatch has all


@dataclass
class Record:
    """The record of one run; that of a partial run (`full` is false) consists of its mismatches only."""

    stores: Stores
    run: str
    epoch: int
    full: bool
    position: str | None = None  # of the primary's log, as the shadow had it at first; only a full run has it
    resumed: bool = False
    rows: int = 0
    mismatches: int = 0
    done: frozenset[str] = frozenset()
    cursors: dict[str, tuple[Key | None, int]] = field(default_factory=dict)

    def cursor(self, table: str) -> tuple[Key | None, int]:
        """The last key compared in a table, and how many rows came up to it."""
        return self.cursors.get(table, (None, 0))

    def has_mismatches(self, table: str) -> bool:
        """Whether a mismatch of a table is on record."""
        row = self.stores.postgres.connection.execute(
            "SELECT EXISTS (SELECT 1 FROM st_mismatch WHERE tbl = %s)", (table,)
        ).fetchone()
        return row == (True,)

    def save(
        self,
        table: str,
        upto: Key | None,
        of_table: int,
        found: Sequence[Mismatch],
        rows: int,
        mismatches: int,
    ) -> None:
        """Keep what was found and how far the run is, in one transaction.

        Args:
            upto: the last key compared, None at the table's end.
            of_table: rows compared in this table.
            rows, mismatches: those of the whole run.

        Raises:
            StaleAttempt: the run is not (any more) the one on record.
        """
        with self.stores.postgres.write() as connection:
            connection.execute("SET LOCAL synchronous_commit = off")
            _store(connection, found)
            if not self.full:
                return
            self._update(connection, "rows = %s, mismatches = %s", (rows, mismatches))
            connection.execute(
                "INSERT INTO st_verify_progress (tbl, cursor, rows, done) VALUES (%s, %s, %s, %s) "
                "ON CONFLICT (tbl) DO UPDATE SET cursor = excluded.cursor, rows = excluded.rows, "
                "done = excluded.done",
                (table, None if upto is None else keys.to_bound(upto), of_table, upto is None),
            )

    def finish(self, rows: int, mismatches: int) -> None:
        """Mark the run as finished.

        Raises:
            StaleAttempt: the run is not (any more) the one on record.
        """
        with self.stores.postgres.write() as connection:
            if self.full:
                self._update(
                    connection,
                    "finished_at = %s, rows = %s, mismatches = %s",
                    (time.time(), rows, mismatches),
                )
            evidence = {"run": self.run, "full": self.full, "rows": rows, "mismatches": mismatches}
            record_history(connection, "verify", self.epoch, evidence)

    def _update(self, connection: psycopg.Connection[Any], what: str, values: tuple[object, ...]) -> None:
        updated = connection.execute(
            f"UPDATE st_verify SET {what} WHERE id = 1 AND run = %s AND epoch = %s "
            "AND finished_at IS NULL".encode(),
            (*values, self.run, self.epoch),
        ).rowcount
        if not updated:
            why, hint = self._ended_by(connection)
            raise StaleAttempt(f"this verify is no longer the one on record: {why}", hint=hint)

    def _ended_by(self, connection: psycopg.Connection[Any]) -> tuple[str, str]:
        """What took the run off the record, as the record and the history show it, and what to do."""
        again = "run st-migrate verify again, one at a time"
        row = connection.execute("SELECT run, epoch FROM st_verify WHERE id = 1").fetchone()
        if row is None:
            return "capture was put back, or its part of the log was given up", again
        if row[1] != self.epoch:
            return "the sides were switched", again
        if row[0] != self.run:
            return "another verify took its place", again
        by = connection.execute(
            "SELECT actor FROM st_history WHERE event = 'verify' ORDER BY id DESC LIMIT 1"
        ).fetchone()
        who = f" ({by[0]})" if by else ""
        return f"another verify beside it has finished it{who}", "that one counts: see st-migrate status"


def begin(stores: Stores, control: Control, schema: Schema) -> Record:
    """Go on with the unfinished run of this epoch and schema, or start a new one.

    A new run starts with no mismatches on record.
    """
    mark, tables = verify_mark(stores, schema), json.dumps(sorted(schema))
    with stores.postgres.write() as connection:
        row = connection.execute(
            "SELECT run, position, rows, mismatches FROM st_verify WHERE id = 1 AND epoch = %s AND tables = %s "
            "AND run LIKE %s AND finished_at IS NULL FOR UPDATE",
            (control.epoch, tables, f"%-{mark}"),
        ).fetchone()
        if row is not None:
            return _resume(stores, connection, control, *row)
        run = f"{uuid.uuid4().hex}-{mark}"
        _, shadow = stores.directions()
        position = shadow.read_position()
        connection.execute("DELETE FROM st_verify_progress")
        connection.execute("DELETE FROM st_mismatch")
        connection.execute(
            "INSERT INTO st_verify (id, run, epoch, position, started_at, tables, rows, mismatches) "
            "VALUES (1, %(run)s, %(epoch)s, %(position)s, %(now)s, %(tables)s, 0, 0) "
            "ON CONFLICT (id) DO UPDATE SET run = excluded.run, epoch = excluded.epoch, "
            "position = excluded.position, started_at = excluded.started_at, finished_at = NULL, "
            "tables = excluded.tables, rows = 0, mismatches = 0",
            {
                "run": run,
                "epoch": control.epoch,
                "position": position,
                "now": time.time(),
                "tables": tables,
            },
        )
    return Record(stores, run, control.epoch, full=True, position=position)


def _resume(
    stores: Stores,
    connection: psycopg.Connection[Any],
    control: Control,
    run: str,
    position: str,
    rows: int,
    mismatches: int,
) -> Record:
    progress = connection.execute("SELECT tbl, cursor, rows, done FROM st_verify_progress").fetchall()
    return Record(
        stores,
        run,
        control.epoch,
        full=True,
        position=position,
        resumed=True,
        rows=rows,
        mismatches=mismatches,
        done=frozenset(table for table, _, _, done in progress if done),
        cursors={
            table: (None if cursor is None else keys.from_bound(cursor), count)
            for table, cursor, count, done in progress
            if not done
        },
    )


def partial(stores: Stores, control: Control, tables: Sequence[str]) -> Record:
    """Start a run over some tables: forgets their mismatches and leaves the full run's record alone."""
    with stores.postgres.write() as connection:
        connection.execute("DELETE FROM st_mismatch WHERE tbl = ANY(%s::text[])", (list(tables),))
    return Record(stores, uuid.uuid4().hex, control.epoch, full=False)


def expected(stores: Stores, tables: Sequence[str]) -> int:
    """About how many rows the tables have, by PostgreSQL's statistics."""
    row = stores.postgres.connection.execute(
        "SELECT coalesce(sum(greatest(reltuples, 0)), 0)::bigint FROM pg_class "
        "WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') "
        "AND relname = ANY(%s::text[])",
        (list(tables),),
    ).fetchone()
    return int(row[0]) if row else 0


def found(
    stores: Stores, schema: Schema, tables: Sequence[str]
) -> tuple[tuple[Mismatch, ...], dict[str, int]]:
    """The first mismatches on record of these tables, and how many each table has."""
    connection, names = stores.postgres.connection, list(tables)
    rows = connection.execute(
        "SELECT tbl, k, kind, columns FROM st_mismatch WHERE tbl = ANY(%s::text[]) ORDER BY tbl, k LIMIT %s",
        (names, LISTED),
    ).fetchall()
    counts = connection.execute(
        "SELECT tbl, count(*) FROM st_mismatch WHERE tbl = ANY(%s::text[]) GROUP BY tbl ORDER BY tbl",
        (names,),
    ).fetchall()
    listed = tuple(
        Mismatch(
            table,
            (key,) if kind == "count" else keys.from_text(schema[table], key),
            kind,
            tuple(json.loads(columns)),
        )
        for table, key, kind, columns in rows
    )
    return listed, dict(counts)


def set_aside(stores: Stores, tables: Sequence[str]) -> int:
    """How many rows of these tables are in quarantine."""
    row = stores.postgres.connection.execute(
        "SELECT count(*) FROM st_quarantine WHERE tbl = ANY(%s::text[])", (list(tables),)
    ).fetchone()
    return int(row[0]) if row else 0


def _store(connection: psycopg.Connection[Any], found: Sequence[Mismatch]) -> None:
    now = time.time()
    with connection.cursor() as cursor:
        cursor.executemany(
            "DELETE FROM st_mismatch WHERE tbl = %s AND k = %s", [(m.table, m.key_text()) for m in found]
        )
        cursor.executemany(
            "INSERT INTO st_mismatch (tbl, k, kind, columns, found_at) VALUES (%s, %s, %s, %s, %s)",
            [(m.table, m.key_text(), m.kind, json.dumps(m.columns), now) for m in found],
        )
