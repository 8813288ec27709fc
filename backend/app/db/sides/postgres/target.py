"""Writing PostgreSQL as the shadow: rows in canonical form, a few in one statement or many by COPY.

What PostgreSQL cannot hold is set aside with its reason in the same transaction, never dropped.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache

import psycopg
from psycopg import errors as pg_errors
from psycopg import pq

from app.db.common.errors import UnsupportedValue
from app.db.common.urls import Side
from app.db.rows import key_sql, keys
from app.db.rows.catalog import Row, Table, quote, quote_with_parameters
from app.db.rows.keys import RawKey
from app.db.rows.policy import encode_cell, encode_column_in
from app.db.rows.refused import Held, Rejected, Unsettled, living_only_on, rows_with_keys
from app.db.sides.control import Control
from app.db.sides.postgres.aside import Quarantine, delete_by_text, has_key_of
from app.db.sides.postgres.connection import ROW_ERRORS, Connection
from app.db.sides.postgres.deferred import drop_foreign_keys, giving_way

COPY_FROM = 500  # rows from which COPY is faster than one INSERT with array parameters
FEW = 4  # rows up to which looking at each value by itself is cheaper than at a column
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def copy_text(columns: Sequence[Sequence[str | None]]) -> str:
    """Rows of canonical columns in COPY's text format."""
    escaped = [_escaped(column) for column in columns]
    return "\n".join(map("\t".join, zip(*escaped, strict=True))) + "\n"


def _escaped(column: Sequence[str | None]) -> Sequence[str]:
    if None in column:
        return ["\\N" if text is None else text.translate(_ESCAPES) for text in column]
    joined = "".join(column)  # type: ignore[arg-type]  # no None in it, as just seen
    if any(mark in joined for mark in "\\\t\n\r"):
        return [text.translate(_ESCAPES) for text in column]  # type: ignore[union-attr]  # likewise
    return column  # type: ignore[return-value]  # likewise


def encode_rows(table: Table, rows: Sequence[Row]) -> tuple[list[Sequence[str | None]], list[Rejected]]:
    """Rows as SQLite holds them, as canonical columns; those that have no canonical form come apart.

    Returns:
        The columns of the good rows, and the refused rows.
    """
    columns = list(zip(*rows, strict=True))
    encoded: list[Sequence[str | None]] = []
    refused: dict[int, UnsupportedValue] = {}
    for column, values in zip(table.columns, columns, strict=True):
        texts = encode_column_in(column, values) if len(rows) > FEW else None
        if texts is None:
            texts = []
            for n, value in enumerate(values):
                try:
                    texts.append(None if value is None else encode_cell(table, column, value))
                except UnsupportedValue as error:
                    refused.setdefault(n, error)
                    texts.append(None)
        if not column.nullable and None in texts:
            for n, text in enumerate(texts):
                if text is None:
                    refused.setdefault(n, UnsupportedValue(column.name, "NULL in a column that takes none"))
        encoded.append(texts)
    if not refused:
        return encoded, []
    rejected = [Rejected(table, rows[n], error.column, error.reason) for n, error in sorted(refused.items())]
    return [[text for n, text in enumerate(column) if n not in refused] for column in encoded], rejected


class PostgresTarget:
    """One transaction of the applier on PostgreSQL, or of the backfill.

    Args:
        careful: write every row under its own savepoint. So a row which only the server can tell is bad (a
            check, a value out of range) is quarantined. Slow; used to repeat a round that failed.
    """

    def __init__(
        self,
        connection: Connection,
        position: str,
        control: Control,
        *,
        quarantined: bool,
        careful: bool,
        announced: bool = True,
    ) -> None:
        self.mark: str | None = None
        self.marks = False
        self._announced: int = announced  # whether there are such keys; once they were read, how many
        self.connection = connection
        self.control = control
        self.position = position
        self._quarantined = quarantined
        self._quarantine = Quarantine(connection)
        self._held: Held = {}
        self.careful = careful
        self.stack = ExitStack()  # what has to end right after the commit was sent

    @property
    def is_clean(self) -> bool:
        """Whether nothing stands announced or in quarantine, where nothing may have stood either."""
        return not self._quarantined and not self._announced

    @property
    def recalls(self) -> bool:
        """Whether there may be something to `recall`."""
        return self._quarantined

    def recall(self, held: Held) -> None:
        """Learn what stands in quarantine: rows that only PostgreSQL holds stay as they are."""
        self._held = held

    @property
    def unsettled(self) -> Unsettled:
        """Nothing: here the quarantine is written in the same transaction."""
        return Unsettled()

    def shed_foreign_keys(self) -> int:
        """Drop every foreign key, in this transaction.

        Replacing a row deletes it first, and a key that cascades would take its children along. Nothing
        brings the children back: they did not change on the primary, so no log names them.
        """
        with giving_way(self.connection):
            return drop_foreign_keys(self.connection)

    def covers(self, position: str, end: str) -> bool:
        """Whether the shadow has everything up to a position of SQLite's log, which has this end, and nothing is left to settle."""
        return self.is_clean and int(position) <= int(self.position) <= int(end)

    def burst(self, entries: int) -> None:
        """Send a small round and its commit in one go. A large one uses COPY, which cannot be pipelined."""
        if entries < COPY_FROM and not self.careful:
            self.stack.enter_context(self.connection.pipeline())

    def announced(self) -> list[tuple[str, str, str]]:
        if not self._announced:
            return []
        pending = self.connection.execute("SELECT tbl, k, token FROM st_pending").fetchall()
        self._announced = len(pending)
        return pending

    def clear(self, table: Table) -> None:
        if kept := living_only_on(Side.POSTGRES, table, self._held):
            delete_by_text(self.connection, table, kept, others=True)
        else:
            self.connection.execute(f"DELETE FROM {quote(table.name)}".encode())
        if self._quarantined:
            self._quarantine.release_all(table.name, sorted(kept))

    def delete(self, table: Table, raws: Sequence[RawKey]) -> None:
        if kept := living_only_on(Side.POSTGRES, table, self._held):
            raws = [raw for raw in raws if keys.text_of(table, raw) not in kept]
        self._delete(table, keys.canonical_columns(table, raws))
        self._release(table, raws)

    def _delete(self, table: Table, columns: Sequence[Sequence[str | None]]) -> None:
        if columns and columns[0]:
            self.connection.execute(statements(table).delete, [array_text(column) for column in columns])

    def delete_keys(self, table: Table, known: Sequence[keys.Key]) -> None:
        """Delete the rows of some canonical keys."""
        self._delete(table, list(zip(*known, strict=True)))

    def _release(self, table: Table, raws: Sequence[RawKey]) -> None:
        """What was quarantined under these keys is judged anew."""
        if self._quarantined:
            self._quarantine.release(table.name, [text for raw in raws for text in keys.texts_of(table, raw)])

    def _make_way(self, table: Table, rows: Sequence[Row]) -> None:
        """Rows that only PostgreSQL holds give way to rows of the primary."""
        if kept := living_only_on(Side.POSTGRES, table, self._held):
            coming = set(map(keys.to_text, rows_with_keys(table, rows, kept)))
            known = [key for text in coming if (key := keys.known(table, text))]
            self.delete_keys(table, known)
            if len(known) < len(coming):
                delete_by_text(self.connection, table, coming)
            self._quarantine.release(table.name, sorted(coming))

    def replace(self, table: Table, raws: Sequence[RawKey], rows: list[Row]) -> int:
        """Bring a few keys to the rows given: update or insert those, delete the keys that have none.

        Rows that swap unique values collide here; the round is then repeated carefully, deletes first.
        """
        if self.careful or living_only_on(Side.POSTGRES, table, self._held):
            self.delete(table, raws)
            return self.insert(table, [rows] if rows else [])
        self._release(table, raws)
        columns, rejected = encode_rows(table, rows) if rows else ([], [])
        present = set(zip(*(columns[n] for n in table.key_positions), strict=True)) if rows else set()
        named = (keys.canonical_of(table, raw) for raw in raws)
        gone = [key for key in named if key is not None and key not in present]
        self._delete(table, list(zip(*gone, strict=True)))
        if len(present) == 1 == len(columns[0]):
            self.connection.execute(statements(table).upsert_one, [column[0] for column in columns])
        elif present:
            self.connection.execute(statements(table).upsert, list(map(array_text, columns)))
        self.quarantine(rejected)
        return len(rejected)

    def insert(self, table: Table, rows: Iterable[list[Row]]) -> int:
        refused = 0
        for batch in filter(None, rows):
            self._make_way(table, batch)
            columns, rejected = encode_rows(table, batch)
            if rejected:
                self.quarantine(rejected)
                refused += len(rejected)
                gone = {id(item.row) for item in rejected}
                batch = [row for row in batch if id(row) not in gone]
            if self.careful:
                refused += self._one_by_one(table, batch)
            elif batch:
                self._put(table, columns)
        return refused

    def _one_by_one(self, table: Table, rows: list[Row]) -> int:
        """Write rows each under a savepoint, and quarantine those that the server itself refuses."""
        refused: list[Rejected] = []
        for row in rows:
            columns, _ = encode_rows(table, [row])
            try:
                with self.connection.transaction():
                    self._put(table, columns)
            except pg_errors.ForeignKeyViolation:
                raise  # not the row's fault: the shadow is not what apply may assume
            except ROW_ERRORS as error:
                twice = isinstance(error, pg_errors.UniqueViolation) and keys.may_coincide(table)
                if twice and has_key_of(self.connection, table, columns):  # in another spelling
                    raise
                column = error.diag.column_name or error.diag.constraint_name or ""
                refused.append(Rejected(table, row, column, _server_reason(error)))
        self.quarantine(refused)
        return len(refused)

    def _put(self, table: Table, columns: list[Sequence[str | None]]) -> None:
        # Not within a pipeline: one log entry may stand for a whole table, so a small round can be large.
        if len(columns[0]) >= COPY_FROM and self.connection.pgconn.pipeline_status == pq.PipelineStatus.OFF:
            names = ", ".join(quote(column.name) for column in table.columns)
            statement = f"COPY {quote(table.name)} ({names}) FROM STDIN".encode()
            with self.connection.cursor().copy(statement) as copy:
                copy.write(copy_text(columns))
            return
        self.connection.execute(statements(table).insert, list(map(array_text, columns)))

    def quarantine(self, rejected: Sequence[Rejected]) -> None:
        """Keep refused rows with their exact content and the reason; they block the cutover."""
        if rejected:
            self._quarantine.put(Side.SQLITE, rejected)
            self._quarantined = True

    def forget_announced(self, texts: dict[str, list[str]]) -> None:
        for table, of_table in texts.items():
            self.connection.execute(
                "DELETE FROM st_pending WHERE tbl = %s AND k = ANY(%s::text[])", (table, of_table)
            )
            self._announced -= len(of_table)

    def announce(self, table: Table, raws: Sequence[RawKey], token: str) -> None:
        """Remember keys that strict mode writes here before the primary commits them."""
        self.connection.execute(
            "INSERT INTO st_pending (tbl, k, token) SELECT %s, k, %s FROM unnest(%s::text[]) AS k "
            "ON CONFLICT (tbl, k) DO UPDATE SET token = excluded.token",
            (table.name, token, list(map(keys.announced, raws))),
        )

    def announce_all(self, table: Table, token: str) -> None:
        """Remember the keys of all rows that a table has here."""
        self.connection.execute(
            f"INSERT INTO st_pending (tbl, k, token) SELECT %s, {key_sql.logging_on_postgres(table).replace('%', '%%')}, %s "
            f"FROM {quote_with_parameters(table.name)} "
            "ON CONFLICT (tbl, k) DO UPDATE SET token = excluded.token".encode(),
            (table.name, token),
        )

    def advance(self, position: str, changes: int, mark: str | None = None) -> None:
        self.mark = mark or self.mark
        self.connection.execute(
            f"UPDATE st_watermark SET position = %s, changes = changes + %s, applied_at = %s{', mark = %s' if self.marks else ''} WHERE id = 1".encode(),
            (position, changes, time.time(), *([self.mark] if self.marks else [])),
        )


def _server_reason(error: psycopg.Error) -> str:
    detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
    return f"PostgreSQL: {error.diag.message_primary}{detail}"[:500]


def array_text(column: Sequence[str | None]) -> str:
    """A column of texts as PostgreSQL spells an array; much cheaper than the driver's array parameters."""
    return "{" + ",".join("NULL" if text is None else _array_item(text) for text in column) + "}"


def _array_item(text: str) -> str:
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


@dataclass(frozen=True)
class Statements:
    """One table's statements with array parameters."""

    delete: bytes
    insert: bytes
    upsert: bytes
    upsert_one: bytes  # a row's values themselves: half the time of arrays of one


@cache
def statements(table: Table) -> Statements:
    """The statements of a table, made once. Its rows are `t`, as a table may be called "excluded"."""
    name = quote_with_parameters(table.name)
    match = " AND ".join(
        f"t.{quote_with_parameters(c.name)} = u.c{n}::{c.cast_with_parameters}"
        for n, c in enumerate(table.key)
    )
    names = [quote_with_parameters(column.name) for column in table.columns]
    fields = ", ".join(f"u.c{n}::{column.cast_with_parameters}" for n, column in enumerate(table.columns))
    into = f"INSERT INTO {name} AS t ({', '.join(names)}) OVERRIDING SYSTEM VALUE"
    insert = f"{into} SELECT {fields} FROM {_unnested(len(names))}"
    one = ", ".join(f"%s::text::{column.cast_with_parameters}" for column in table.columns)
    others = ", ".join(
        f"{quote_with_parameters(c.name)} = excluded.{quote_with_parameters(c.name)}"
        for c in table.columns
        if c not in table.key
    )
    action = f"DO UPDATE SET {others}" if others else "DO NOTHING"
    return Statements(
        delete=f"DELETE FROM {name} AS t USING {_unnested(len(table.key))} WHERE {match}".encode(),
        insert=insert.encode(),
        upsert=f"{insert} ON CONFLICT ({key_sql.names_with_parameters(table)}) {action}".encode(),
        upsert_one=f"{into} VALUES ({one}) ON CONFLICT ({key_sql.names_with_parameters(table)}) {action}".encode(),
    )


def _unnested(columns: int) -> str:
    """Array parameters as a row source `u` with columns c0, c1, ..."""
    return f"unnest({', '.join(['%s::text[]'] * columns)}) AS u({', '.join(f'c{n}' for n in range(columns))})"
