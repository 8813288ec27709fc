"""Random rows and writers on either side, and the reader that compares them without a line of the tool's code."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import psycopg
from psycopg.types.json import set_json_loads

from app.db.common.urls import Side
from tests.core.random.fuzz.kinds import read_document
from tests.core.random.fuzz.schemas import FuzzColumn, FuzzTable, quote

Key = tuple[Any, ...]


class World:
    """Both databases as strangers see them.

    Args:
        path: SQLite's file. dsn: of PostgreSQL, for a plain driver.
    """

    def __init__(self, path: Path, dsn: str, tables: list[FuzzTable], rng: Random) -> None:
        self.tables = tables
        self._rng = rng
        self._sqlite = sqlite3.connect(path, isolation_level=None, timeout=30)
        self._sqlite.execute("PRAGMA foreign_keys = ON")
        self._postgres = psycopg.connect(dsn, autocommit=True)
        self._postgres.execute("SET TimeZone = 'Asia/Kolkata'")
        self._postgres.execute("SET DateStyle = 'German'")
        self._postgres.execute("SET extra_float_digits = 0")
        self._reading = psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC")
        set_json_loads(read_document, self._reading)
        self._known: dict[str, list[Key]] = {table.name: [] for table in tables}
        self.refused = 0
        self.written = 0

    def close(self) -> None:
        self._sqlite.close()
        self._postgres.close()
        self._reading.close()

    # Writers.

    def write(self, side: Side, statements: int) -> None:
        """Some writes on one side, in one transaction or several; what a constraint refuses is rolled back alone."""
        execute = self._on_sqlite if side is Side.SQLITE else self._on_postgres
        together = self._rng.random() < 0.5
        if together:
            execute("BEGIN", [])
        for _ in range(statements):
            self._one(side, execute, together)
        if together:
            execute("ROLLBACK" if self._rng.random() < 0.15 else "COMMIT", [])

    def _one(self, side: Side, execute: Any, together: bool) -> None:
        table = self._rng.choice(self.tables)
        statement, parameters = self._statement(side, table)
        if together:
            execute("SAVEPOINT one", [])
        try:
            execute(statement, parameters)
            self.written += 1
        except (sqlite3.IntegrityError, psycopg.errors.IntegrityError, psycopg.errors.CardinalityViolation):
            self.refused += 1
            if together:
                execute("ROLLBACK TO one", [])
        if together:
            execute("RELEASE one", [])

    def _on_sqlite(self, statement: str, parameters: list[Any]) -> None:
        self._sqlite.execute(statement, parameters)

    def _on_postgres(self, statement: str, parameters: list[Any]) -> None:
        self._postgres.execute(statement.encode(), parameters or None)

    def _statement(self, side: Side, table: FuzzTable) -> tuple[str, list[Any]]:
        rng = self._rng
        known = self._known[table.name]
        draw = rng.random()
        name = self._name(side, table.name)
        if not known or draw < 0.45:
            values = [self._value(table, column) for column in table.all_columns]
            known.append(tuple(values[: len(table.key)]))
            fields = ", ".join(self._name(side, c.name) for c in table.all_columns)
            verb = "INSERT OR REPLACE" if side is Side.SQLITE and draw < 0.08 else "INSERT"
            marks = ", ".join(self._mark(side, c) for c in table.all_columns)
            bound = [self._bound(side, table, c, v) for c, v in zip(table.all_columns, values, strict=True)]
            return f"{verb} INTO {name} ({fields}) VALUES ({marks})", bound
        key = rng.choice(known)
        where = " AND ".join(f"{self._name(side, c.name)} = {self._mark(side, c)}" for c in table.key)
        bound = [self._bound(side, table, c, v) for c, v in zip(table.key, key, strict=True)]
        if draw < 0.6:
            return f"DELETE FROM {name} WHERE {where}", bound
        column = rng.choice(table.all_columns if draw < 0.7 else table.columns)
        value = self._value(table, column)
        if column in table.key:
            at = table.key.index(column)
            known.append((*key[:at], value, *key[at + 1 :]))
        change = f"{self._name(side, column.name)} = {self._mark(side, column)}"
        return f"UPDATE {name} SET {change} WHERE {where}", [self._bound(side, table, column, value), *bound]

    def _value(self, table: FuzzTable, column: FuzzColumn) -> Any:
        if column.refers_to:
            others = self._known[column.refers_to]
            return self._rng.choice(others)[0] if others and self._rng.random() < 0.7 else None
        if not column.required and self._rng.random() < 0.15:
            return None
        if table.sequence is not None and column is table.key[0]:
            return self._rng.randrange(-1000, 1000)  # such that numbers are left
        return column.kind.make(self._rng)

    @staticmethod
    def _name(side: Side, name: str) -> str:
        quoted = quote(name)
        return quoted.replace("%", "%%") if side is Side.POSTGRES else quoted

    @staticmethod
    def _mark(side: Side, column: FuzzColumn) -> str:
        return "?" if side is Side.SQLITE else f"%s::{column.kind.postgres}"

    @staticmethod
    def _bound(side: Side, table: FuzzTable, column: FuzzColumn, value: Any) -> Any:
        if value is None:
            return None
        return column.style.spell(value) if side is Side.SQLITE else column.kind.bound(value)

    def given_twice(self) -> list[str]:
        """What PostgreSQL gives out next and either side has had before, drawn by a session that has drawn before."""
        found = []
        for table in self.tables:
            if table.sequence is None:
                continue
            ((default,),) = self._reading.execute(
                "SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d JOIN pg_class c ON c.oid = d.adrelid "
                "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.adnum "
                "WHERE c.relname = %s AND a.attname = %s",
                (table.name, table.key[0].name),
            ).fetchall()
            ((number,),) = self._postgres.execute(f"SELECT {default}".encode()).fetchall()
            if number <= table.highest:
                found.append(f"{table.name!r} gives out {number} after {table.highest} ({table.sequence})")
        return found

    # Other names.

    @staticmethod
    def renaming(table: FuzzTable, column: FuzzColumn | None, name: str) -> str:
        """The statement that renames a column, or the table, on either side."""
        what = f"COLUMN {quote(column.name)} TO" if column else "TO"
        return f"ALTER TABLE {quote(table.name)} RENAME {what} {quote(name)}"

    def renamed(self, table: FuzzTable, column: FuzzColumn | None, name: str) -> None:
        """Both sides have carried that statement out: use the new name from here on."""
        if column is not None:
            for columns in (table.key, table.columns, table.uniques):
                columns[:] = [replace(c, name=name) if c.name == column.name else c for c in columns]
            return
        self._known[name] = self._known.pop(table.name)
        for other in self.tables:
            for columns in (other.key, other.columns, other.uniques):
                columns[:] = [replace(c, refers_to=name) if c.refers_to == table.name else c for c in columns]
        table.name = name

    # The reader.

    def on_sqlite(self, table: FuzzTable) -> dict[Key, Key]:
        """Rows by key, as Python's values; two rows of one key are an error."""
        fields = ", ".join(quote(column.name) for column in table.all_columns)
        found: dict[Key, Key] = {}
        for row in self._sqlite.execute(f"SELECT {fields} FROM {quote(table.name)}"):
            values = tuple(
                None if value is None else column.kind.read(value)
                for column, value in zip(table.all_columns, row, strict=True)
            )
            key = _hashable(values[: len(table.key)])
            assert key not in found, f"two rows of {key} on SQLite"
            found[key] = values
        return found

    def on_postgres(self, table: FuzzTable) -> dict[Key, Key]:
        fields = ", ".join(quote(column.name) for column in table.all_columns)
        rows = self._reading.execute(f"SELECT {fields} FROM {quote(table.name)}".encode()).fetchall()
        return {_hashable(row[: len(table.key)]): row for row in rows}

    def bytes_of(self, table: FuzzTable) -> dict[str, Key]:
        """Every byte of SQLite's rows, by the text of the key."""
        key = " || ',' || ".join(f"quote({quote(c.name)})" for c in table.key)
        fields = ", ".join(f"typeof({quote(c.name)}), quote({quote(c.name)})" for c in table.all_columns)
        rows = self._sqlite.execute(f"SELECT {key}, {fields} FROM {quote(table.name)}").fetchall()
        return {row[0]: row[1:] for row in rows}

    def generated(self, table: FuzzTable) -> list[tuple[Any, Any]]:
        """What each side computed itself, sorted."""
        if table.generated is None:
            return []
        query = f"SELECT {quote(table.generated)} FROM {quote(table.name)}"
        ours = sorted(map(str, self._sqlite.execute(query).fetchall()))
        theirs = sorted(map(str, self._reading.execute(query.encode()).fetchall()))
        return [(a, b) for a, b in zip(ours, theirs, strict=True) if a != b]

    def differences(self) -> list[str]:
        """Each row that is not the same on both sides, in words."""
        found = []
        for table in self.tables:
            ours, theirs = self.on_sqlite(table), self.on_postgres(table)
            if table.sequence is not None:
                table.highest = max([table.highest, *(key[0] for key in ours)])
            for key in ours.keys() | theirs.keys():
                if ours.get(key) != theirs.get(key):
                    found.append(
                        f"{table.name!r} {key}: {ours.get(key)} on SQLite, {theirs.get(key)} on PostgreSQL"
                    )
            found += [f"{table.name!r} generated: {pair}" for pair in self.generated(table)]
        return found


def _hashable(key: Any) -> Key:
    return tuple(bytes(part) if isinstance(part, memoryview) else part for part in key)
