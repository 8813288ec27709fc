"""Tables that the application's installer made on PostgreSQL, compared with those of SQLite.

What only a row can show is found by reading rows. Here stands what the two catalogs say: keys, NOT NULL, unique
keys. A difference that no row of today violates is a warning, because the two installers of an application may
differ on purpose. Nothing of it is changed by us.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg

from app.db.rows import key_sql
from app.db.rows.catalog import postgres_columns, quote, sqlite_columns
from app.db.sides.postgres.folds import folded_uniques, has_counterpart, texts_of
from migration.preflight.findings.report import SHOWN_KEYS, Finding, Severity
from migration.preflight.findings.shapes import Shape

_UNIQUES = """
SELECT t.relname, c.relname, array_agg(a.attname ORDER BY a.attnum)
FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = ANY(i.indkey)
WHERE i.indisunique AND NOT i.indisprimary AND i.indpred IS NULL AND i.indexprs IS NULL
AND t.relnamespace = current_schema()::regnamespace GROUP BY 1, 2, i.indexrelid
"""
_INSTALL = (
    "run the application's own installer or migration of the same version against PostgreSQL, then repeat"
)


def installed_findings(
    sqlite: sqlite3.Connection, postgres: psycopg.Connection[Any], shapes: Mapping[str, Shape]
) -> Iterator[Finding]:
    """What the catalogs say of tables that both sides have, or that one lacks."""
    theirs = postgres_columns(postgres)
    if not shapes.keys() & theirs.keys():
        yield Finding(
            "schema.not_installed",
            Severity.BLOCKS,
            f"PostgreSQL has none of the {len(shapes)} tables of the SQLite file",
            _INSTALL,
        )
        return
    ours = sqlite_columns(sqlite)
    uniques: dict[str, dict[frozenset[str], str]] = {}
    for table, index, columns in postgres.execute(_UNIQUES).fetchall():
        uniques.setdefault(table, {})[frozenset(columns)] = index
    for name in sorted(shapes.keys() & theirs.keys()):
        yield from _key(name, ours[name], theirs[name])
        yield from _not_null(name, ours[name], theirs[name])
        yield from _unique(sqlite, shapes[name], uniques.get(name, {}))
        yield from _folded(sqlite, postgres, shapes[name])


def _folded(sqlite: sqlite3.Connection, postgres: psycopg.Connection[Any], shape: Shape) -> Iterator[Finding]:
    """Unique keys that SQLite does not compare by bytes, and PostgreSQL compares otherwise."""
    for index in folded_uniques(sqlite, shape.table.name, texts_of(shape.table)):
        if not has_counterpart(postgres, index):
            yield Finding(
                "schema.unique",
                Severity.WARNS,
                f"no unique index of PostgreSQL calls the same texts equal as {index.name} does on SQLite: rows that "
                "one side takes may go to quarantine on the other",
                f"let the application's own migration make one: {index.statement(set())}",
                table=shape.table.name,
                column=", ".join(sorted(index.names)),
            )


def _key(
    table: str, ours: dict[str, tuple[str, bool, int]], theirs: list[tuple[str, str, str, bool, bool, int]]
) -> Iterator[Finding]:
    on_sqlite = {name for name, (_, _, position) in ours.items() if position}
    on_postgres = {column[0] for column in theirs if column[5] >= 0}
    if on_sqlite and on_sqlite != on_postgres:
        yield Finding(
            "schema.key",
            Severity.BLOCKS,
            f"the primary key is ({', '.join(sorted(on_sqlite))}) on SQLite and "
            f"({', '.join(sorted(on_postgres)) or 'none'}) on PostgreSQL",
            f"let the application make one key on both sides, or leave it out: --leave-out {table}",
            table=table,
        )


def _not_null(
    table: str, ours: dict[str, tuple[str, bool, int]], theirs: list[tuple[str, str, str, bool, bool, int]]
) -> Iterator[Finding]:
    for name, _, _, nullable, _, place in theirs:
        if name not in ours or place >= 0 or ours[name][2]:
            continue
        if ours[name][1] and not nullable:
            yield Finding(
                "schema.not_null",
                Severity.WARNS,
                "PostgreSQL takes no NULL here and SQLite does: a row with a NULL would go to quarantine",
                "nothing, if the application never stores NULL there",
                table=table,
                column=name,
            )
        elif nullable and not ours[name][1]:
            yield Finding(
                "schema.not_null",
                Severity.WARNS,
                "SQLite takes no NULL here and PostgreSQL does: after a cutover a row with a NULL stays on PostgreSQL",
                "nothing, if the application never stores NULL there",
                table=table,
                column=name,
            )


def _unique(
    sqlite: sqlite3.Connection, shape: Shape, theirs: Mapping[frozenset[str], str]
) -> Iterator[Finding]:
    table = shape.table
    columns = {column.name for column in table.columns}
    plain = [index for index in shape.indexes if index.unique and not index.expression and not index.partial]
    ours = {frozenset(index.columns) for index in plain if index.name != "primary key"}
    keys = {frozenset(table.key_names)}
    for wanted in sorted(theirs.keys() - ours - keys, key=sorted):
        if not wanted <= columns:
            continue
        names = ", ".join(sorted(wanted))
        count, found = _equal_rows(sqlite, shape, sorted(wanted))
        if count:
            yield Finding(
                "row.duplicate",
                Severity.BLOCKS,
                f"rows that are equal under {theirs[wanted]}, which is unique on PostgreSQL only",
                "change or delete all but one row of each group on SQLite",
                table=table.name,
                column=names,
                count=count,
                keys=found,
            )
        else:
            yield Finding(
                "schema.unique",
                Severity.WARNS,
                f"{theirs[wanted]} is unique on PostgreSQL only: equal rows would go to quarantine",
                "nothing, if the application never stores equal rows there",
                table=table.name,
                column=names,
            )
    bytewise = {frozenset(index.columns) for index in plain if not index.collation}
    for missing in sorted((ours & bytewise) - theirs.keys() - keys, key=sorted):
        if missing <= columns:
            yield Finding(
                "schema.unique",
                Severity.WARNS,
                "the columns are unique on SQLite only: PostgreSQL would take equal rows",
                "let the application's own migration make the key on PostgreSQL, if it needs one",
                table=table.name,
                column=", ".join(sorted(missing)),
            )


def _equal_rows(sqlite: sqlite3.Connection, shape: Shape, columns: list[str]) -> tuple[int, tuple[str, ...]]:
    """How many rows share the values of some columns, and the first groups of their keys."""
    table = shape.table
    if not table.key:
        return 0, ()
    names = ", ".join(map(quote, columns))
    present = " AND ".join(f"{quote(name)} IS NOT NULL" for name in columns)
    groups = sqlite.execute(
        f"SELECT count(*), CAST(group_concat({key_sql.printed(table)}, ' = ') AS BLOB) FROM {quote(table.name)} "
        f"WHERE {present} GROUP BY {names} HAVING count(*) > 1"
    ).fetchall()
    shown = tuple(raw.decode("utf-8", "replace") for _, raw in groups[:SHOWN_KEYS])
    return sum(count for count, _ in groups), shown
