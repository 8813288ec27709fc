"""Reading one key range of a table from both sides at once, in a form that is equal when the rows are.

No lock is taken. Each side is one short read, so the two may see different moments. What differs is only a
suspicion that `recheck` has to confirm. The SELECT lists are chosen so that ordinary data comes out as equal
Python objects on both sides. Whole lists are compared in C. Timestamps come as PostgreSQL prints them,
numbers in binary. Anything less ordinary is unequal at first sight and goes to the exact comparison of
`app.db.apply.compare`.

Ranges are half open, (after, upto], in the order of the key's bytes: text by code point on both sides.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from app.db.apply.compare import compare_rows
from app.db.common.urls import Side
from app.db.rows import key_sql, keys
from app.db.rows.catalog import Column, Row, Table, quote, quote_with_parameters
from app.db.rows.keys import Key
from app.db.rows.kinds import PRINTED, Kind
from app.db.rows.spelling import NUMERIC_AFFINITIES
from app.db.sides.sqlite.connection import stream
from app.db.sides.stores import Stores

FIRST_ROWS = 64  # of a table with texts, until it is known how long they are
CHUNK_BYTES = 8_000_000
_SAMPLED = 32


@dataclass(frozen=True)
class Chunk:
    """The rows of one range, as each side held them a moment ago."""

    sqlite: list[Row]
    postgres: list[Row]


class ChunkReader:
    """Reads one table range by range.

    Args:
        stores: the pair.
        table: the table.
        primary: the side whose keys cut the ranges.
        rows: rows per range at most; fewer where rows are long, so that memory stays constant.
    """

    def __init__(self, stores: Stores, table: Table, primary: Side, rows: int) -> None:
        self._sqlite = stores.sqlite.connection
        self._stores = stores
        self._postgres = stores.postgres.connection
        self._table = table
        self._primary = primary
        self._limit = rows
        long = any(_MAY_BE_LONG[column.kind] for column in table.columns)
        self._rows = min(rows, FIRST_ROWS) if long else rows
        self._measured = long
        fields, name = ", ".join(map(_sqlite_field, table.columns)), quote(table.name)
        self._ours = f"SELECT {fields} FROM {name}"
        self._as_stored = f"SELECT {', '.join(quote(column.name) for column in table.columns)} FROM {name}"
        fields, name = ", ".join(map(_postgres_field, table.columns)), quote_with_parameters(table.name)
        self._theirs = f"SELECT {fields} FROM {name}"

    def end(self, after: Key | None) -> Key | None:
        """The key that ends the next range, None where the table ends before.

            A key that only SQLite can hold cannot bound a range; the range is made longer then. So it is where
        a spelling puts a key behind others than its value does.
        """
        offset = self._rows - 1
        while (found := self._key_at(after, offset)) is not None:
            key = keys.canonical(self._table, found)
            if key is not None and (after is None or self._is_beyond(key, after)):
                return key
            offset += self._rows
        return None

    def _is_beyond(self, key: Key, after: Key) -> bool:
        if not keys.may_coincide(self._table):
            return True
        ends = [
            list(map(_in_order, self._table.key, keys.values_on_sqlite(self._table, end)))
            for end in (key, after)
        ]
        return ends[0] > ends[1] and key != after

    def read(self, after: Key | None, upto: Key | None) -> Chunk:
        """Both sides' rows of a range; PostgreSQL works while SQLite is being read."""
        with self._postgres.pipeline():
            self._stores.postgres.begin()
            cursor = self._postgres.cursor(binary=True)
            where, parameters = key_sql.range_on_postgres(self._table, after, upto)
            order = key_sql.order_on_postgres(self._table)
            cursor.execute(f"{self._theirs} {where} ORDER BY {order}".encode(), parameters)
            where, parameters = self._range_on_sqlite(after, upto)
            statement = f"{self._ours} {where} ORDER BY {key_sql.order_on_sqlite(self._table)}"
            ours = _all_rows(self._sqlite, statement, tuple(parameters))
            theirs: list[Row] = cursor.fetchall()
        if self._measured:
            self._adapt(ours or theirs)
        return Chunk(ours, theirs)

    def suspects(self, chunk: Chunk, after: Key | None, upto: Key | None) -> Suspects:
        """What differs at first sight in the chunk of that range; usually nothing, found by one comparison in C.

        The chunk has times without trailing zeros. Quarantine knows a row without a key by all its bytes, so
        such rows of SQLite are read once more.
        """
        if chunk.sqlite == chunk.postgres:
            return Suspects(set())
        table = self._table
        ours, theirs = set(map(tuple, chunk.sqlite)), set(map(tuple, chunk.postgres))
        only = {Side.SQLITE: ours - theirs, Side.POSTGRES: theirs - ours}
        apart = {side: {row for row in rows if _has_no_key(table, row)} for side, rows in only.items()}
        differing = {
            item.key for item in compare_rows(table, *(rows - apart[side] for side, rows in only.items()))
        }
        plain = [(Side.POSTGRES, tuple(map(_without_mark, row))) for row in apart[Side.POSTGRES]]
        if apart[Side.SQLITE]:
            stored = self._stored(after, upto)
            plain += [(Side.SQLITE, tuple(row)) for row in stored if _has_no_key(table, row)]
        return Suspects(differing, frozenset((side, keys.of_row(table, row)) for side, row in plain))

    def _stored(self, after: Key | None, upto: Key | None) -> list[Row]:
        """SQLite's rows of a range as they are."""
        where, parameters = self._range_on_sqlite(after, upto)
        return _all_rows(self._sqlite, f"{self._as_stored} {where}", tuple(parameters))

    def _key_at(self, after: Key | None, offset: int) -> tuple[Any, ...] | None:
        if self._primary is Side.SQLITE:
            where, parameters = self._range_on_sqlite(after, None)
            order = key_sql.order_on_sqlite(self._table)
            statement = (
                f"SELECT {key_sql.names(self._table)} FROM {quote(self._table.name)} {where} "
                f"ORDER BY {order} LIMIT 1 OFFSET {offset}"
            )
            found = [row for rows in stream(self._sqlite, statement, tuple(parameters)) for row in rows]
            return tuple(found[0]) if found else None
        where, parameters = key_sql.range_on_postgres(self._table, after, None)
        fields = ", ".join(map(_postgres_field, self._table.key))
        order = key_sql.order_on_postgres(self._table)
        return self._postgres.execute(
            f"SELECT {fields} FROM {quote_with_parameters(self._table.name)} {where} "
            f"ORDER BY {order} LIMIT 1 OFFSET {offset}".encode(),
            parameters,
        ).fetchone()

    def _range_on_sqlite(self, after: Key | None, upto: Key | None) -> tuple[str, list[Any]]:
        ends = [None if key is None else keys.values_on_sqlite(self._table, key) for key in (after, upto)]
        return key_sql.range_on_sqlite(self._table, *ends, nulls_first=True)

    def _adapt(self, rows: list[Row]) -> None:
        """Choose the next range's length by the size of some of these rows."""
        sample = rows[:: len(rows) // _SAMPLED + 1]
        size = sum(len(value) for row in sample for value in row if isinstance(value, (str, bytes)))
        fitting = CHUNK_BYTES * len(sample) // max(1, size)
        self._rows = max(1, min(self._limit, fitting, self._rows * 4))


def _all_rows(connection: sqlite3.Connection, statement: str, parameters: tuple[Any, ...]) -> list[Row]:
    """The rows of a query in one step in C, or batch by batch where a text is not UTF-8."""
    try:
        return connection.execute(statement, parameters).fetchall()
    except sqlite3.OperationalError:
        return [row for rows in stream(connection, statement, parameters) for row in rows]


@dataclass(frozen=True)
class Suspects:
    """What differs at first sight.

    `keys` can be looked up on both sides. `unkeyed` are rows whose key the other side cannot hold. Each comes
    with the side that holds it, by the text under which quarantine knows it.
    """

    keys: set[Key]
    unkeyed: frozenset[tuple[Side, Key]] = frozenset()


def _in_order(column: Column, value: Any) -> tuple[int, Any]:
    """A value of a key as SQLite orders it: numbers, texts, bytes. A numeric column reads a text as a number.

    PostgreSQL alone holds such a number: it has more digits than SQLite's column keeps.
    """
    if type(value) is str and column.affinity in NUMERIC_AFFINITIES:
        with suppress(ValueError):
            value = float(value)
    return (0 if isinstance(value, (int, float)) else 1 if isinstance(value, str) else 2), value


def _has_no_key(table: Table, row: Row) -> bool:
    return keys.canonical(table, [row[position] for position in table.key_positions]) is None


def _without_mark(value: Any) -> Any:
    return value.removesuffix(NOT_ON_SQLITE) if isinstance(value, str) else value


# Whether values may be so long that a range has to hold fewer rows.
_MAY_BE_LONG: dict[Kind, bool] = {
    Kind.INTEGER: False,
    Kind.FLOAT: False,
    Kind.REAL: False,
    Kind.BOOLEAN: False,
    Kind.TEXT: True,
    Kind.TIMESTAMP: False,
    Kind.DATE: False,
    Kind.TIME: False,
    Kind.BLOB: True,
    Kind.NUMERIC: True,
    Kind.UUID: False,
    Kind.INSTANT: False,
    Kind.INTERVAL: False,
    Kind.JSON: True,
    Kind.JSONB: True,
    Kind.ADDRESS: False,
}
# After how many characters a text of SQLite may have a fraction of a second; None: never.
_FRACTION_AT: dict[Kind, int | None] = {
    Kind.INTEGER: None,
    Kind.FLOAT: None,
    Kind.REAL: None,
    Kind.BOOLEAN: None,
    Kind.TEXT: None,
    Kind.TIMESTAMP: 19,
    Kind.DATE: None,
    Kind.TIME: 8,
    Kind.BLOB: None,
    Kind.NUMERIC: None,
    Kind.UUID: None,
    Kind.INSTANT: 19,
    Kind.INTERVAL: None,
    Kind.JSON: None,
    Kind.JSONB: None,
    Kind.ADDRESS: None,
}
NOT_ON_SQLITE = " has no form on SQLite"
_NO_FORM = f"{{0}}::text || '{NOT_ON_SQLITE}'"  # equal to nothing
_IN_YEARS = "CASE WHEN {0} >= '0001-01-01' AND {0} < '10000-01-01' THEN {0}::text ELSE " + _NO_FORM + " END"
# PostgreSQL's expression that gives the value as SQLite stores it, and something else where it could not.
_AS_ON_SQLITE: dict[Kind, str] = {
    Kind.INTEGER: "{0}",
    Kind.FLOAT: "{0}",
    Kind.REAL: "{0}::text::double precision",  # the usual spelling; another is looked at row by row
    Kind.BOOLEAN: "{0}",
    Kind.TEXT: "{0}::text",
    Kind.TIMESTAMP: _IN_YEARS,
    Kind.DATE: _IN_YEARS,
    Kind.TIME: "CASE WHEN {0} < '24:00' THEN {0}::text ELSE " + _NO_FORM + " END",
    Kind.BLOB: "{0}",
    Kind.NUMERIC: "CASE WHEN {0}::text IN ('NaN', 'Infinity', '-Infinity') THEN "
    + _NO_FORM
    + " ELSE {0}::text END",
    Kind.UUID: "replace({0}::text, '-', '')",
    Kind.INSTANT: "CASE WHEN {0} >= '0001-01-01 00:00:00+00' AND {0} < '10000-01-01 00:00:00+00' THEN "
    + PRINTED[Kind.INSTANT]
    + f" ELSE ({PRINTED[Kind.INSTANT]}) || '{NOT_ON_SQLITE}' END",
    Kind.INTERVAL: PRINTED[Kind.INTERVAL],
    Kind.JSON: "{0}::text",
    Kind.JSONB: "{0}::text",
    Kind.ADDRESS: "{0}::text",
}


def _sqlite_field(column: Column) -> str:
    """A column such that the forms in which applications write a time are what PostgreSQL prints.

    Six digits lose their trailing zeros. The patterns are strict, so that no other text changes.
    """
    name = quote(column.name)
    start = _FRACTION_AT[column.kind]
    if start is None:
        return name
    return (
        f"CASE WHEN substr({name}, {start + 1}) = '.000000' THEN substr({name}, 1, {start}) "
        f"WHEN {name} GLOB '*.[0-9][0-9][0-9][0-9][0-9]0' AND typeof({name}) = 'text' "
        f"THEN rtrim({name}, '0') ELSE {name} END"
    )


def _postgres_field(column: Column) -> str:
    """A column in the form SQLite stores. Without the cast an enum would come in binary."""
    name = quote_with_parameters(column.name)
    form = column.spelling.form if column.kind is Kind.UUID and column.spelling else ""
    if form.lower() == "hyphens":
        return f"upper({name}::text)" if form.isupper() else f"{name}::text"
    if form == "blob":
        return f"uuid_send({name})"
    return _AS_ON_SQLITE[column.kind].replace("{0}", name)
