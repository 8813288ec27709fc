"""What the operator leaves out by name: tables, and single columns of tables that take part.

A name is a table's, or TABLE.COLUMN. A table of exactly that name comes first, should one have a dot in it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from app.db.common.urls import Side
from app.db.rows.catalog import BOOKKEEPING, KEY_INDEX, quote, stand_in
from migration.preflight.findings.report import Finding, Severity

_ON_POSTGRES = f"""
SELECT c.relname, a.attname, a.attnotnull AND NOT a.atthasdef AND a.attidentity = '',
       coalesce(a.attnum = ANY(i.columns), false)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN LATERAL {KEY_INDEX} i ON true
WHERE c.relkind IN ('r', 'p') AND c.relnamespace = current_schema()::regnamespace
"""
_NAMES = {Side.SQLITE: "SQLite", Side.POSTGRES: "PostgreSQL"}
Needed = dict[str, dict[str, tuple[bool, bool]]]  # table, column: must be given a value, is part of the key


@dataclass(frozen=True)
class LeftOut:
    """The tables and columns, and names that stand for neither."""

    tables: frozenset[str] = frozenset()
    columns: frozenset[tuple[str, str]] = frozenset()
    unknown: tuple[str, ...] = ()

    def names(self) -> list[str]:
        """All of them as the operator writes them."""
        return sorted([*self.tables, *(f"{table}.{column}" for table, column in self.columns)])


def resolve(
    names: Collection[str], ours: Needed, theirs: Needed, virtual: Mapping[str, Collection[str]]
) -> LeftOut:
    """What some names stand for on either side. The tables that a virtual table is made of go with it."""
    tables: set[str] = set()
    columns: set[tuple[str, str]] = set()
    unknown: list[str] = []
    for name in sorted(names):
        if name in BOOKKEEPING:
            unknown.append(name)
        elif name in ours or name in theirs:
            tables.update((name, *virtual.get(name, ())))
        elif found := [split for split in _splits(name) if _has(ours, split) or _has(theirs, split)]:
            columns.add(found[0])
        else:
            unknown.append(name)
    return LeftOut(frozenset(tables), frozenset(columns), tuple(unknown))


def _splits(name: str) -> Iterator[tuple[str, str]]:
    for at, character in enumerate(name):
        if character == ".":
            yield name[:at], name[at + 1 :]


def _has(side: Needed, place: tuple[str, str]) -> bool:
    return place[1] in side.get(place[0], {})


def sqlite_needs(connection: sqlite3.Connection) -> Needed:
    """Every table of the SQLite file with its columns."""
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    found: Needed = {}
    for (table,) in tables:
        columns = connection.execute(f"PRAGMA table_xinfo({quote(table)})").fetchall()
        key = {row[1] for row in columns if row[5]} or set(stand_in(connection, table))
        found[table] = {
            name: (bool(not_null) and default is None, name in key)
            for _, name, _, not_null, default, *_ in columns
        }
    return found


def postgres_needs(connection: psycopg.Connection[Any] | None) -> Needed:
    """The same of PostgreSQL. Nothing without it."""
    found: Needed = {}
    for table, column, needed, key in connection.execute(_ON_POSTGRES).fetchall() if connection else ():
        found.setdefault(table, {})[column] = (needed, key)
    return found


def in_full(item: Finding, ours: Needed, theirs: Needed) -> Finding:
    """A finding whose remedy leaves a column out, with what comes first where a side takes no row without it."""
    if not item.column or f"--leave-out {item.place}" not in item.remedy:
        return item
    needed = [
        _optional(side, item.table, item.column)
        for side, needs in ((Side.POSTGRES, theirs), (Side.SQLITE, ours))
        if needs.get(item.table, {}).get(item.column, (False, False))[0]
    ]
    return (
        replace(item, remedy=f"{item.remedy}; to leave it out, first {' and '.join(needed)}")
        if needed
        else item
    )


def _optional(side: Side, table: str, column: str) -> str:
    """How a side comes to take rows without a column."""
    if side is Side.POSTGRES:
        return f"{_null_allowed(table, column, 'DROP')} (on PostgreSQL)"
    return "have the application's own migration give it a default or let it be NULL on SQLite"


def _null_allowed(table: str, column: str, what: str) -> str:
    return f"ALTER TABLE {quote(table)} ALTER COLUMN {quote(column)} {what} NOT NULL"


def findings(left_out: LeftOut, ours: Needed, theirs: Needed) -> Iterator[Finding]:
    """What is lost with it, and what cannot be left out."""
    for name in left_out.unknown:
        yield Finding(
            "schema.unknown_exclude",
            Severity.BLOCKS,
            f"--leave-out names {name}, and there is no such table or column",
            "correct the name; a column is TABLE.COLUMN",
        )
    for table in sorted(left_out.tables):
        yield Finding(
            "schema.excluded",
            Severity.INFO,
            "the table is left out: its rows stay where they are, and are lost to the side that is moved to",
            "nothing, if no part of the application needs the table after the move",
            table=table,
        )
    sides = ((Side.SQLITE, ours), (Side.POSTGRES, theirs))
    for table, column in sorted(left_out.columns):
        needs = {side: all_.get(table, {}).get(column, (False, False)) for side, all_ in sides}
        if any(key for _, key in needs.values()):
            yield Finding(
                "schema.excluded_key",
                Severity.BLOCKS,
                "a column of the key cannot be left out: rows are named by it",
                f"leave out the whole table: --leave-out {table}",
                table=table,
                column=column,
            )
        elif stuck := next((side for side, (needed, _) in needs.items() if needed), None):
            there = stuck is Side.POSTGRES
            yield Finding(
                "schema.excluded_needed",
                Severity.BLOCKS,
                f"the column cannot be left out: {_NAMES[stuck]} takes no row without it",
                _optional(stuck, table, column),
                table=table,
                column=column,
                on_postgres=_null_allowed(table, column, "DROP") if there else "",
                undo=_null_allowed(table, column, "SET") if there else "",
            )
        else:
            yield Finding(
                "schema.excluded",
                Severity.INFO,
                "the column is left out: its values are lost to the side that is moved to. A row that is written "
                "there afterwards loses its value on the other side, too",
                "nothing, if no part of the application needs the column after the move",
                table=table,
                column=column,
            )


def keys_from_outside(connection: psycopg.Connection[Any], common: Collection[str]) -> Iterator[Finding]:
    """Foreign keys of tables that do not take part into those that do: the latter could not be emptied."""
    rows = connection.execute(
        "SELECT c.conname, t.relname, nullif(t.relnamespace, p.relnamespace)::regnamespace::text, p.relname, "
        "pg_get_constraintdef(c.oid) "
        "FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid JOIN pg_class p ON p.oid = c.confrelid "
        "WHERE c.contype = 'f' AND p.relnamespace = current_schema()::regnamespace ORDER BY 2, 1"
    ).fetchall()
    for name, table, elsewhere, parent, definition in rows:
        if parent in common and (elsewhere or table not in common):
            place = f"{elsewhere}.{quote(table)}" if elsewhere else quote(table)
            yield Finding(
                "postgres.foreign_key",
                Severity.BLOCKS,
                f"foreign key {name} of {f'{elsewhere}.' * bool(elsewhere)}{table}, which does not take part, refers to the table",
                f"ALTER TABLE {place} DROP CONSTRAINT {quote(name)} (on PostgreSQL)",
                table=parent,
                on_postgres=f"ALTER TABLE {place} DROP CONSTRAINT {quote(name)}",
                undo=f"ALTER TABLE {place} ADD CONSTRAINT {quote(name)} {definition}",
            )
