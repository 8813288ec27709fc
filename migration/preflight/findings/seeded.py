"""Rows that the application's installer has put on PostgreSQL: default roles, a first user, a schema version.

The rule: rows that SQLite holds, too, with the same values, are fine; the copy writes them again. Any other row
would be lost, so it is refused by its key. `--discard-target` gives such rows up. How the rows stood is remembered
either way, where they are few, and `abort` puts them back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import psycopg

from app.db.apply.compare import Mismatch, compare_rows
from app.db.rows import keys
from app.db.rows.catalog import Row, Table, postgres_columns, quote
from app.db.sides.postgres.source import select_list
from app.db.sides.sqlite.connection import stream
from migration.preflight.findings.report import SHOWN_KEYS, Finding, Severity
from migration.preflight.findings.shapes import Shape

MOST_ROWS = 10_000  # of one table that are looked at: an installer puts no more there
_DISCARD = "or give them up: prepare --discard-target removes the rows that PostgreSQL holds"


def seeded(
    sqlite: sqlite3.Connection, postgres: psycopg.Connection[Any], shapes: Mapping[str, Shape]
) -> Iterator[Finding]:
    """Tables that take part and hold rows on PostgreSQL already, and whether SQLite holds the same."""
    theirs = postgres_columns(postgres)
    for name in sorted(shapes.keys() & theirs.keys()):
        table = shapes[name].table
        count = _count(postgres, name)
        if not count:
            continue
        there = {column[0] for column in theirs[name]}
        alike = there.issuperset(column.name for column in table.columns)
        if count > MOST_ROWS or not table.key or not alike or shapes[name].unsupported:
            yield _refused(name, f"the table already holds {_number(count)} rows on PostgreSQL", count)
            continue
        found = _differing(sqlite, postgres, table)
        if not found:
            yield Finding(
                "postgres.seeded",
                Severity.INFO,
                "rows that PostgreSQL holds already are the same on SQLite",
                "nothing: the copy writes them again",
                table=name,
                count=count,
            )
            continue
        shown = tuple(item.key_text() for item in found[:SHOWN_KEYS])
        kinds = {"different": "have other values on SQLite", "extra": "are not on SQLite"}
        reasons = " or ".join(text for kind, text in kinds.items() if any(i.kind == kind for i in found))
        yield _refused(name, f"rows of PostgreSQL that {reasons}", len(found), shown)


def _refused(table: str, reason: str, count: int, shown: tuple[str, ...] = ()) -> Finding:
    return Finding(
        "postgres.not_empty",
        Severity.BLOCKS,
        reason,
        f"delete them on PostgreSQL, {_DISCARD}",
        table=table,
        count=count,
        keys=shown,
    )


def _number(count: int) -> str:
    return str(count) if count <= MOST_ROWS else f"more than {MOST_ROWS}"


def _count(postgres: psycopg.Connection[Any], table: str) -> int:
    row = postgres.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM {quote(table)} LIMIT {MOST_ROWS + 1}) AS found".encode()
    ).fetchone()
    return row[0] if row else 0


def _differing(sqlite: sqlite3.Connection, postgres: psycopg.Connection[Any], table: Table) -> list[Mismatch]:
    theirs = postgres.execute(select_list(table).encode(), ()).fetchall()
    wanted = {keys.of_row(table, row) for row in theirs}
    return compare_rows(table, _ours(sqlite, table, wanted), theirs)


def _ours(sqlite: sqlite3.Connection, table: Table, wanted: set[keys.Key]) -> list[Row]:
    """The rows of SQLite with some keys, found by reading the table once: a spelling may hide a key."""
    names = ", ".join(quote(column.name) for column in table.columns)
    batches = stream(sqlite, f"SELECT {names} FROM {quote(table.name)}", ())
    return [row for batch in batches for row in batch if keys.of_row(table, row) in wanted]


def filled(connection: psycopg.Connection[Any], common: Collection[str]) -> Iterator[Finding]:
    """Tables that take part and hold rows already."""
    for table in postgres_columns(connection):
        if table not in common:
            continue
        row = connection.execute(f"SELECT 1 FROM {quote(table)} LIMIT 1".encode()).fetchone()
        if row is not None:
            yield Finding(
                "postgres.not_empty",
                Severity.BLOCKS,
                "the table already holds rows on PostgreSQL",
                "name an empty database, or prepare with --discard-target to remove those rows",
                table=table,
            )
