"""Ids are given out once: what a new primary may not give out again.

An id may live where the new primary does not look. It may be on the other side alone, or in quarantine,
accepted or not. It may be in SQLite's `sqlite_sequence` or in PostgreSQL's sequence. It may be in a change
log, as the key of a row that is gone. At a promotion, in either direction, the generators of the new primary
are set beyond all of these.

SQLite's tables without AUTOINCREMENT have no generator: SQLite gives out the largest id present plus one. So
a row that only PostgreSQL holds, with an id beyond SQLite's largest, would see its id given out again.
Nothing can reserve such an id. `objections` names it, and the gate stays closed until the row is changed or
has a younger one.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator

from app.db.common.urls import Side
from app.db.rows.catalog import Schema, Table, quote
from app.db.sides.contract import START
from app.db.sides.postgres.aside import SIDE
from app.db.sides.postgres.connection import Connection
from app.db.sides.postgres.sequences import (
    Drawn,
    drawn_columns,
    exhausted,
    largest,
    set_sequences,
    unfit_sequences,
)
from app.db.sides.postgres.source import PostgresSource
from app.db.sides.stores import Stores

GAP = 100  # numbers left free at a promotion
_END = 2**63 - 1
_NEAR_END = _END - GAP  # a row with such an id that is gone says nothing: no generator was ever there
_INTEGER = "^-?[0-9]{1,19}$"


class Ids:
    """The largest ids that either side has ever held, as far as anything knows of them.

    Args:
        stores: the pair, through connections of this caller's own.
        schema: its tables.
    """

    def __init__(self, stores: Stores, schema: Schema) -> None:
        self._sqlite: sqlite3.Connection = stores.sqlite.connection
        self._stores = stores
        self._schema = schema
        self._logged: dict[str, int] = {}
        self._seen = {Side.SQLITE: START, Side.POSTGRES: START}

    @property
    def _postgres(self) -> Connection:
        return self._stores.postgres.connection

    def read_logs(self) -> None:
        """Read what both logs hold since the last call; the first call reads all of them."""
        upto = self._stores.sqlite.log_end()
        for table, key in self._sqlite.execute(
            "SELECT tbl, max(k) FROM st_change_log WHERE seq > ? "
            "AND typeof(k) = 'integer' AND k < ? GROUP BY tbl",
            (int(self._seen[Side.SQLITE]), _NEAR_END),
        ):
            self._logged[table] = max(key, self._logged.get(table, 0))
        self._seen[Side.SQLITE] = upto
        upto = self._stores.postgres.log_end()
        for table, key in self._postgres.execute(
            f"SELECT tbl, max(k::numeric)::bigint FROM st_change_log WHERE {PostgresSource.NEW} "
            "AND k ~ %(integer)s AND k::numeric < %(end)s GROUP BY tbl".encode(),
            PostgresSource.parameters(self._seen[Side.POSTGRES], integer=_INTEGER, end=_NEAR_END),
        ).fetchall():
            self._logged[table] = max(key, self._logged.get(table, 0))
        self._seen[Side.POSTGRES] = upto

    def used(self, table: str, column: str, most: int = _END) -> int:
        """The largest number that is known to have been in a column.

        Args:
            most: the largest that its generator can give out. The id of a row that is gone counts below it.
        """
        found = [largest(self._postgres, table, column), self._in_quarantine(table, column)]
        if table in self._schema:
            (value,) = self._sqlite.execute(
                f"SELECT max({quote(column)}) FROM {quote(table)} WHERE typeof({quote(column)}) = 'integer'"
            ).fetchone()
            found.append(value or 0)
            if self._schema[table].key_names == (column,):
                logged = self._logged.get(table, 0)
                found += [logged if logged < most else 0, self._counted(table)]
        return max(found)

    def _in_quarantine(self, table: str, column: str, side: Side | None = None) -> int:
        # A key is known by itself: the content has the name that the column had when the row was set aside.
        known = self._schema.get(table)
        is_key = known is not None and known.key_names == (column,)
        value = "q.k" if is_key else "(q.content::json ->> %(column)s)"
        row = self._postgres.execute(
            (
                f"SELECT max({value}::numeric)::bigint FROM st_quarantine q "
                f"WHERE q.tbl = %(table)s AND {value} ~ %(integer)s "
                f"AND (%(side)s::text IS NULL OR {SIDE} = %(side)s)"
            ).encode(),
            {"table": table, "column": column, "integer": _INTEGER, "side": side and str(side)},
        ).fetchone()
        return int(row[0] or 0) if row else 0

    def _counted(self, table: str) -> int:
        """What SQLite has counted for a table with AUTOINCREMENT. 0 if nothing."""
        if not self._sqlite.execute("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'").fetchone():
            return 0
        row = self._sqlite.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
        return row[0] if row and isinstance(row[0], int) else 0

    def _used(self, item: Drawn) -> int:
        return self.used(item.table, item.column, item.most)

    # PostgreSQL becomes primary.

    def advance_postgres(self) -> list[str]:
        """Set PostgreSQL's sequences, within the caller's transaction. Returns the objections instead, if any."""
        if unfit := unfit_sequences(self._postgres):
            return unfit
        full = set_sequences(
            self._postgres,
            drawn_columns(self._postgres),
            self._used,
            GAP,
        )
        return list(map(_full, full))

    # SQLite becomes primary.

    def advance_sqlite(self) -> None:
        """Set SQLite's counters. Harmless if the switch does not take place."""
        last = self._drawn()
        with self._stores.sqlite.write() as connection:
            for table in self._counting():
                used = self._ever(table, last)
                if used <= self._counted(table.name):
                    continue
                changed = connection.execute(
                    "UPDATE sqlite_sequence SET seq = ? WHERE name = ?", (used, table.name)
                ).rowcount
                if not changed:
                    connection.execute(
                        "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table.name, used)
                    )

    def _drawn(self) -> dict[tuple[str, str], int]:
        return {(item.table, item.column): item.last for item in drawn_columns(self._postgres)}

    def _ever(self, table: Table, last: dict[tuple[str, str], int]) -> int:
        (column,) = table.key_names
        return max(self.used(table.name, column), last.get((table.name, column), 0))

    def _counting(self) -> Iterator[Table]:
        """Tables with AUTOINCREMENT."""
        return (table for table, sql in self._numbered() if _word("AUTOINCREMENT", sql))

    def _numbered(self) -> Iterator[tuple[Table, str]]:
        """Tables whose ids SQLite gives out itself: their key is an alias of the rowid."""
        for table in self._schema.values():
            if not table.integer_key:
                continue
            (sql,) = self._sqlite.execute(
                "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", (table.name,)
            ).fetchone()
            declared = [
                kind for _, _, kind, _, _, key in self._sqlite.execute(f"PRAGMA table_info({quote(table.name)})")
                if key
            ]  # fmt: skip
            if [kind.upper() for kind in declared] == ["INTEGER"] and not _word(r"WITHOUT\s+ROWID", sql):
                yield table, sql

    # The gate.

    def objections(self, to: Side) -> list[str]:
        """Why ids would be given out twice, or not at all, with `to` as the primary."""
        self.read_logs()
        if to is Side.POSTGRES:
            full = exhausted(drawn_columns(self._postgres), self._used)
            return [*unfit_sequences(self._postgres), *map(_full, full)]
        last = self._drawn()
        found = []
        for table, sql in self._numbered():
            (column,) = table.key_names
            if _word("AUTOINCREMENT", sql):
                if self._ever(table, last) >= _END:
                    found.append(f"table {table.name}, column {column}: {_END} is the last id there is")
                continue
            (here,) = self._sqlite.execute(f"SELECT max({quote(column)}) FROM {quote(table.name)}").fetchone()
            alone = self._in_quarantine(table.name, column, Side.POSTGRES)
            if alone > (here or 0):
                found.append(
                    f"table {table.name}, column {column}: {alone} is a row that only postgres holds, and "
                    f"sqlite would give out {(here or 0) + 1} next"
                )
        return found


def _full(item: Drawn) -> str:
    return f"table {item.table}, column {item.column}: no id is left below {item.most}"


def _word(pattern: str, sql: str) -> bool:
    """Whether a table's definition says something, outside of names, texts and comments."""
    plain = re.sub(
        r"""--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\[[^]]*\]""", " ", sql, flags=re.S
    )
    return re.search(rf"\b{pattern}\b", plain, re.I) is not None
