"""Values that the other side may not hold, among ordinary ones: each row arrives or is set aside, and nothing stops.

Which value is refused is the business of other tests. Here nobody knows it beforehand. What must hold:

1. the rows of one side and of the other are as many, but for those in quarantine, which the other side does not have;
2. a row of the primary that this reader understands is the same on the other side, or in quarantine;
3. a verify of all this is clean, and a switch changes no byte on SQLite.
"""

from __future__ import annotations

import math
import sqlite3
from typing import Any

import psycopg

from app.db.common.urls import Side
from tests.core.random.fuzz.schemas import FuzzColumn, FuzzTable, quote
from tests.core.random.fuzz.world import Key, World
from tests.data.dirty.dirty_stage import Stage

NOT_UTF8 = b"\xffA"  # written as a text
ON_SQLITE: list[Any] = [
    "abc", "", b"\xff\x00", b"abc", NOT_UTF8, 10**18, -1, 0, 1, 2, 5.5, 1e300, math.inf, -math.inf, -0.0,
    "0", "1_0", "12", "007", " 12 ", "1e3", "0x1F", "inf", "NaN", "nan", "yes", "true", "t", "2026-13-45",
    "2026-02-30 00:00:00", "0000-00-00", "24:00:00", "2026-01-05", "2026-01-05 10:00", "2026-01-05T10:00:00Z",
    "2026-01-05 10:00:00.1234567", "2026-01-05 10:00:00+05:30", "2026-01-05 10:00:00+05", "infinity",
    "12026-01-01", "a\x00b", "x" * 300, "{}", '{"a": 1, "a": 2}', "[NaN]", "null", "1.10", "10.0.0.1",
    "10.1.2.3/8", "::ffff:1.2.3.4", "LOW", "low", 1767571200, 1767571200000, 2460000.5, "0" * 32, "P1D",
    "1 day", "-1:00:00",
]  # fmt: skip
ON_POSTGRES: dict[str, list[str]] = {
    "float": ["NaN", "Infinity", "-0", "1e-310"],
    "timestamp": ["infinity", "-infinity", "0044-03-15 10:00:00 BC", "20000-01-01", "0001-01-01"],
    "instant": ["infinity", "0044-03-15 10:00:00+00 BC", "20000-01-01 00:00:00+00"],
    "date": ["infinity", "0044-03-15 BC", "20000-01-01"],
    "time": ["24:00:00"],
    "numeric": ["NaN", "1e200", "0.000000000000000000000000000001", "1.500", "12345678901234567890.123"],
    "interval": ["1 month", "1 year 3 days", "-1 day +01:00:00", "100000 years", "1 day"],
    "json": ['{"a":1,"a":2}', "1e400", " [1 , 2] ", '"\\u0000"'],
    "jsonb": ["1e300", "[1.10]"],
    "text": ["x" * 5000, "00123", "1e5", "\x01"],
    "address": ["10.1.2.3/8", "::ffff:1.2.3.4", "10.0.0.0/8"],
}
# Kinds of which this reader understands every value that SQLite stores in this way.
_UNDERSTOOD = {"integer": int, "text": str, "blob": bytes, "uuid": str}


class Odd:
    """A value of another kind than its column's."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw


class SoiledWorld(World):
    """A world whose writers also write what the other side may not hold, `share` of the values."""

    share = 0.05
    _side = Side.SQLITE

    def write(self, side: Side, statements: int) -> None:
        self._side = side
        super().write(side, statements)

    def _value(self, table: FuzzTable, column: FuzzColumn) -> Any:
        numbered = table.sequence is not None and column is table.key[0]
        if column.refers_to is None and not numbered and self._rng.random() < self.share:
            odd = ON_SQLITE if self._side is Side.SQLITE else ON_POSTGRES.get(column.kind.name, [])
            if odd:
                return Odd(self._rng.choice(odd))
        return super()._value(table, column)

    def _one(self, side: Side, execute: Any, together: bool) -> None:
        try:
            super()._one(side, execute, together)
        except psycopg.errors.DataError:
            self.refused += 1
            if together:
                execute("ROLLBACK TO one", [])
                execute("RELEASE one", [])

    @staticmethod
    def _bound(side: Side, table: FuzzTable, column: FuzzColumn, value: Any) -> Any:
        if not isinstance(value, Odd):
            return World._bound(side, table, column, value)
        known = side is Side.SQLITE or value.raw in ON_POSTGRES.get(column.kind.name, [])
        return value.raw if known else None  # the key of a row that the other side's writer had made

    def _on_sqlite(self, statement: str, parameters: list[Any]) -> None:
        super()._on_sqlite(statement, parameters)
        if NOT_UTF8 in parameters:  # what was bound as bytes becomes a text, where the table takes one
            self._become_texts()

    def _become_texts(self) -> None:
        for table in self.tables:
            for column in table.all_columns:
                name = quote(column.name)
                statement = (
                    f"UPDATE OR IGNORE {quote(table.name)} SET {name} = CAST({name} AS TEXT) WHERE {name} = ?"
                )
                try:
                    self._sqlite.execute(statement, (NOT_UTF8,))
                except sqlite3.IntegrityError:
                    self.refused += 1

    # The reader.

    def bytes_of(self, table: FuzzTable) -> dict[str, Key]:
        """Every byte of SQLite's rows; there is no text for some keys."""
        fields = ", ".join(f"typeof({quote(c.name)}), quote({quote(c.name)})" for c in table.all_columns)
        rows = self._as_bytes(f"SELECT {fields} FROM {quote(table.name)}")
        return {repr(row[: 2 * len(table.key)]): row for row in rows}

    def _as_bytes(self, statement: str) -> list[Key]:
        self._sqlite.text_factory = bytes
        try:
            return self._sqlite.execute(statement).fetchall()
        finally:
            self._sqlite.text_factory = str

    def counted(self, table: FuzzTable) -> dict[Side, int]:
        """How many rows each side has."""
        statement = f"SELECT count(*) FROM {quote(table.name)}"
        ((ours,),) = self._sqlite.execute(statement).fetchall()
        ((theirs,),) = self._reading.execute(statement.encode()).fetchall()
        return {Side.SQLITE: ours, Side.POSTGRES: theirs}

    def plain_rows(self, table: FuzzTable) -> dict[Side, dict[Key, Key]]:
        """Rows of which this reader understands each column that it compares, by key, on each side."""
        columns = [c for c in table.all_columns if c.kind.name in _UNDERSTOOD]
        if any(column.kind.name not in _UNDERSTOOD for column in table.key):
            return {side: {} for side in Side}
        size = len(table.key)
        of_sqlite = ", ".join(f"typeof({quote(c.name)}), {quote(c.name)}" for c in columns)
        found: dict[Side, dict[Key, Key]] = {side: {} for side in Side}
        for row in self._as_bytes(f"SELECT {of_sqlite} FROM {quote(table.name)}"):
            values = tuple(map(_understood, columns, row[::2], row[1::2]))
            if not any(isinstance(value, Odd) for value in values):
                found[Side.SQLITE][values[:size]] = values
        fields = ", ".join(quote(c.name) for c in columns)
        for row in self._reading.execute(f"SELECT {fields} FROM {quote(table.name)}".encode()):
            found[Side.POSTGRES][row[:size]] = row
        return found


def _understood(column: FuzzColumn, storage: bytes, stored: Any) -> Any:
    if storage == b"null":
        return None
    kind = _UNDERSTOOD[column.kind.name]
    if storage != {int: b"integer", str: b"text", bytes: b"blob"}[kind]:
        return Odd(stored)
    try:
        return column.kind.read(stored.decode() if kind is str else stored)
    except ValueError:
        return Odd(stored)


def amiss(stage: Stage, world: SoiledWorld, primary: Side) -> list[str]:
    """What the two first rules of this module's text find broken, in words. Everything is applied."""
    rows = stage.postgres.execute("SELECT tbl, side, k, reason FROM st_quarantine").fetchall()
    found = []
    for table in world.tables:
        held = {side: [row[2:] for row in rows if row[:2] == (table.name, side)] for side in Side}
        counts = world.counted(table)
        if len({counts[side] - len(held[side]) for side in Side}) > 1:
            found.append(f"{table.name!r}: {counts} rows, and in quarantine {held}")
        plain = world.plain_rows(table)
        differing = [row for key, row in plain[primary].items() if plain[primary.other].get(key) != row]
        unread = counts[primary.other] - len(plain[primary.other])
        if len(differing) > len(held[primary]) + unread:
            there = [plain[primary.other].get(row[: len(table.key)]) for row in differing]
            found.append(f"{table.name!r}: {differing} is {there} there, and in quarantine {held[primary]}")
    return found
