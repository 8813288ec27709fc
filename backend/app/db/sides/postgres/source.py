"""Reading PostgreSQL as the primary: one consistent state and what changed since a position.

Sequence numbers are not commit order, so a position is a `pg_snapshot`. The changes of every transaction that
it can see have been applied. The next round takes what is visible now and was not visible then, whatever the
order of sequence numbers. No long transaction holds it back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import psycopg

from app.db.common.errors import NotPrepared
from app.db.common.settings import ShimSettings
from app.db.rows import key_sql, keys
from app.db.rows.catalog import Row, Table, quote_with_parameters
from app.db.rows.keys import Key, RawKey
from app.db.rows.kinds import Kind, printed
from app.db.sides.contract import FETCH, START, Backlog, mark_of, number_of
from app.db.sides.control import Control, ask_postgres_control, or_not_prepared, postgres_control
from app.db.sides.postgres.connection import Connection
from app.db.sides.postgres.forms import begin_patiently
from app.db.sides.postgres.target import COPY_FROM

# Rows that the driver takes from the socket at once. Before version 17 libpq hands out one at a time.
_AT_ONCE = FETCH if psycopg.capabilities.has_stream_chunked() else 1


@dataclass(frozen=True)
class Few:
    """All that the log holds beyond a position: (table, key, time, number) of each entry, and the snapshot that covers them."""

    after: str
    entries: list[tuple[str, str | None, float, int]]
    upto: str


class Evidence(NamedTuple):
    """What tells an older copy. `at` is the time of the entry that was asked for, None if it is gone.
    `younger`: the server has given out fewer transactions than the position knows.
    """

    at: float | None
    younger: bool


_EVIDENCE = b"""
SELECT (SELECT at FROM st_change_log WHERE seq = %(seq)s::bigint),
       coalesce(pg_snapshot_xmax(%(snap)s::pg_snapshot) > pg_snapshot_xmax(pg_current_snapshot()), false)
"""
_YOUNGER = "the server has seen fewer transactions than SQLite knows of, as one that pg_restore has filled"
# The highest number that the log has given out; NULL for a role that may not see that.
_GIVEN_OUT = b"""
SELECT last_value FROM pg_sequences
WHERE schemaname = current_schema() AND sequencename = 'st_change_log_seq_seq' AND last_value IS NOT NULL
"""


def _older(how: str) -> NotPrepared:
    return NotPrepared(
        f"an older copy of the PostgreSQL database was put back: {how}",
        hint="put the newer one back. If it is lost, SQLite alone holds what is newer: save that first, decide which "
        "side is right, then st-migrate abort on it, prepare and backfill anew",
    )


class PostgresSource:
    """One read transaction (REPEATABLE READ) on PostgreSQL.

    Every question costs a wait for the server. A round of few changes, as each commit in sync mode makes one,
    reads with two questions. What has changed comes with the control row (`begin`), and the rows of all
    tables together (`foresee`).

    Args:
        control: the control row, if it has been read.
        few: what has changed, if it has been read and is little.
        evidence: of an older copy, if it has been read.
    """

    def __init__(
        self,
        connection: Connection,
        control: Control | None = None,
        few: Few | None = None,
        evidence: Evidence | None = None,
    ) -> None:
        self._connection = connection
        self.control = control or postgres_control(connection)
        self._few = few
        self._evidence = evidence
        self._foreseen: dict[str, list[Row]] = {}

    @classmethod
    def begin(
        cls,
        connection: Connection,
        settings: ShimSettings,
        after: str | None = None,
        mark: str | None = None,
    ) -> PostgresSource:
        """Begin the transaction, and read what has changed since a position if that is little."""
        cursor = asked = None
        with or_not_prepared(), connection.pipeline():
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            begin_patiently(connection, settings)
            control = ask_postgres_control(connection)
            if after is not None:
                asked = connection.execute(
                    _EVIDENCE, cls.parameters(after, seq=number_of(mark) if mark else None)
                )
                cursor = connection.execute(
                    f"SELECT tbl, k, at, seq, pg_current_snapshot()::text FROM st_change_log WHERE {cls.NEW} LIMIT {COPY_FROM}".encode(),
                    cls.parameters(after),
                )
        few = None
        if cursor is not None and after is not None and 0 < len(rows := cursor.fetchall()) < COPY_FROM:
            few = Few(after, [row[:4] for row in rows], rows[0][4])
        evidence = Evidence._make(asked.fetchone() or (None, False)) if asked is not None else None
        return cls(connection, control(), few, evidence)

    # What a round after snapshot %(after)s has to look at; the first comparison can use the index.
    NEW = "(%(after)s = '0' OR xid >= pg_snapshot_xmin(%(snap)s::pg_snapshot) AND NOT pg_visible_in_snapshot(xid, %(snap)s::pg_snapshot))"

    @staticmethod
    def parameters(after: str, **more: Any) -> dict[str, Any]:
        return {"after": after, "snap": None if after == START else after, **more}

    def backlog(self, after: str) -> Backlog:
        if self._few is not None and self._few.after == after:
            entries = self._few.entries
            return Backlog(
                self._few.upto,
                dict(Counter(table for table, *_ in entries)),
                min(at for _, _, at, _ in entries),
            )
        rows = self._connection.execute(
            f"SELECT tbl, count(*), min(at) FROM st_change_log WHERE {self.NEW} GROUP BY tbl".encode(),
            self.parameters(after),
        ).fetchall()
        if not rows:
            self._check_not_older(after)
            return Backlog(after, {}, None)
        snapshot = self._connection.execute("SELECT pg_current_snapshot()::text").fetchone()
        assert snapshot is not None
        return Backlog(snapshot[0], {row[0]: row[1] for row in rows}, min(row[2] for row in rows))

    def logged_tables(self, after: str) -> set[str]:
        rows = self._connection.execute(
            f"SELECT DISTINCT tbl FROM st_change_log WHERE {self.NEW}".encode(), self.parameters(after)
        )
        return {name for (name,) in rows}

    def mark(self, position: str) -> str | None:
        if self._few is not None and self._few.upto == position:
            return max((mark_of(seq, at) for _, _, at, seq in self._few.entries), key=number_of)
        row = self._connection.execute(
            "SELECT seq, at FROM st_change_log ORDER BY seq DESC LIMIT 1"
        ).fetchone()
        return None if row is None else mark_of(*row)

    def require_mark(self, mark: str | None, applied: str | None = None) -> None:
        if self._evidence is None:
            return
        if self._evidence.younger:
            raise _older(_YOUNGER)
        if mark is None:
            return
        number = number_of(mark)
        if self._evidence.at is None:  # never committed here, or somebody has emptied the log
            row = self._connection.execute(_GIVEN_OUT).fetchone()
            if row is not None and row[0] < number:
                raise _older(f"its log ends before entry {number}, which has been applied")
        elif mark_of(number, self._evidence.at) != mark:
            raise _older(f"entry {number} of its log is not the one that has been applied")

    def _check_not_older(self, after: str) -> None:
        row = self._connection.execute(_EVIDENCE, self.parameters(after, seq=None)).fetchone()
        if row is not None and Evidence._make(row).younger:
            raise _older(_YOUNGER)

    def foresee(self, tables: Sequence[Table], after: str) -> None:
        with self._connection.pipeline():
            cursors = {
                table.name: self._connection.execute(
                    select_changed(table).encode(), self.parameters(after, tbl=table.name)
                )
                for table in tables
            }
        self._foreseen = {name: cursor.fetchall() for name, cursor in cursors.items()}

    def changed_keys(self, table: Table, after: str) -> Iterator[list[RawKey]]:
        if self._few is not None and self._few.after == after:
            yield keys.typed(
                table, list({key: None for name, key, *_ in self._few.entries if name == table.name})
            )
            return
        logged = self._stream(
            f"SELECT k FROM (SELECT DISTINCT k FROM st_change_log WHERE {self.NEW} AND tbl = %(tbl)s) AS logged "
            f"ORDER BY {key_sql.logged_on_postgres(table)}",
            self.parameters(after, tbl=table.name),
        )
        for rows in logged:
            yield keys.typed(table, [row[0] for row in rows])

    def changed_rows(self, table: Table, after: str) -> Iterator[list[Row]]:
        if table.name in self._foreseen:
            yield self._foreseen[table.name]
            return
        yield from self._stream(
            f"{select_changed(table)} ORDER BY {key_sql.order_on_postgres(table)}",
            self.parameters(after, tbl=table.name),
        )

    def count(self, table: Table) -> int:
        name = quote_with_parameters(table.name)
        row = self._connection.execute(f"SELECT count(*) FROM {name}".encode(), ()).fetchone()
        return int(row[0]) if row else 0

    def rows_of(self, table: Table, raws: Sequence[RawKey], *, thorough: bool = False) -> list[Row]:
        known = (keys.canonical_of(table, raw) for raw in raws)
        return rows_by_key(self._connection, table, [key for key in known if key is not None])

    def has_ended(self, token: str) -> bool:
        """A token is a transaction id; what the snapshot can judge has committed or rolled back."""
        row = self._connection.execute(
            "SELECT pg_visible_in_snapshot(%s::xid8, pg_current_snapshot())", (token,)
        ).fetchone()
        return row is not None and bool(row[0])

    def all_rows(self, table: Table) -> Iterator[list[Row]]:
        yield from self._stream(select_list(table), {})

    def _stream(self, statement: str, parameters: dict[str, Any]) -> Iterator[list[Row]]:
        with self._connection.cursor() as cursor:
            stream = cursor.stream(statement.encode(), parameters, size=_AT_ONCE)
            while rows := list(islice(stream, FETCH)):
                yield rows


# Whether a column is read as the text that PostgreSQL prints, and else as the driver's own type.
_AS_TEXT: dict[Kind, bool] = {
    Kind.INTEGER: False,
    Kind.FLOAT: False,
    Kind.REAL: True,  # with every digit, where the driver would read the fewest
    Kind.BOOLEAN: False,
    Kind.TEXT: False,
    Kind.TIMESTAMP: True,
    Kind.DATE: True,
    Kind.TIME: True,
    Kind.BLOB: False,
    Kind.NUMERIC: True,
    Kind.UUID: True,
    Kind.INSTANT: True,
    Kind.INTERVAL: True,
    Kind.JSON: True,
    Kind.JSONB: True,
    Kind.ADDRESS: True,
}


def select_list(table: Table) -> str:
    """SELECT of all columns in the form that `spelling.to_sqlite` takes: numbers, texts and bytes as they are, the rest printed.

    For execution with parameters, be there none: percent signs in names are doubled.
    """
    fields = ", ".join(
        printed(column.kind, quote_with_parameters(column.name))
        if _AS_TEXT[column.kind] or column.cast in ("citext", "bpchar")
        else quote_with_parameters(column.name)
        for column in table.columns
    )
    return f"SELECT {fields} FROM {quote_with_parameters(table.name)}"


def select_changed(table: Table) -> str:
    """SELECT of the rows whose keys the log holds beyond a position; parameters as `PostgresSource.parameters` makes them."""
    return (
        f"{select_list(table)} WHERE ({key_sql.names_with_parameters(table)}) IN "
        f"(SELECT {key_sql.logged_on_postgres(table)} FROM st_change_log "
        f"WHERE {PostgresSource.NEW} AND tbl = %(tbl)s AND k IS NOT NULL)"
    )


def rows_by_key(connection: Connection, table: Table, known: Sequence[Key]) -> list[Row]:
    """The rows of some keys, in no particular order."""
    if not known:
        return []
    columns = list(map(list, zip(*known, strict=True)))
    arrays = ", ".join(["%s::text[]"] * len(table.key))
    aliases = ", ".join(f"c{n}" for n in range(len(table.key)))
    typed = ", ".join(f"c{n}::{column.cast_with_parameters}" for n, column in enumerate(table.key))
    names = key_sql.names_with_parameters(table)
    return connection.execute(
        f"{select_list(table)} WHERE ({names}) IN (SELECT {typed} FROM unnest({arrays}) AS u({aliases}))".encode(),
        columns,
    ).fetchall()
