"""The tables of both sides, read from their catalogs and compared."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from typing import Any

import psycopg

from app.db.common.errors import SchemaDrift
from app.db.rows.catalog.declared import affinity, limit_of
from app.db.rows.catalog.indexes import sqlite_uniques
from app.db.rows.catalog.keys import stand_in
from app.db.rows.catalog.queries import ENUM_LABELS, POSTGRES_COLUMNS
from app.db.rows.catalog.replaced import replaced_on_sqlite
from app.db.rows.catalog.tables import (
    EXCLUDED_COLUMN_TABLE,
    EXCLUDED_TABLE,
    Column,
    Schema,
    Table,
    _known,
    quote,
    takes_part,
)
from app.db.rows.catalog.unfit import unfit_tables
from app.db.rows.kinds import CASTS, POSTGRES_KINDS, Kind, can_be_key
from app.db.rows.spelling import Spelling, usual


def sqlite_left_out(connection: sqlite3.Connection) -> frozenset[str]:
    """The tables that the operator left out of the move, as SQLite's side has them on record."""
    try:
        return frozenset(name for (name,) in connection.execute(f"SELECT tbl FROM {EXCLUDED_TABLE}"))
    except sqlite3.OperationalError as error:  # the file is not prepared, or an earlier version prepared it
        if "no such table" not in str(error):
            raise
        return frozenset()


def postgres_left_out(connection: psycopg.Connection[Any]) -> frozenset[str]:
    """The same, as PostgreSQL's side has them on record."""
    row = connection.execute(f"SELECT to_regclass('{EXCLUDED_TABLE}') IS NOT NULL".encode()).fetchone()
    if row is None or not row[0]:
        return frozenset()
    return frozenset(name for (name,) in connection.execute(f"SELECT tbl FROM {EXCLUDED_TABLE}".encode()))


def sqlite_columns_left_out(connection: sqlite3.Connection) -> frozenset[tuple[str, str]]:
    """The columns that the operator left out, as (table, column), as SQLite's side has them on record."""
    try:
        return frozenset(connection.execute(f"SELECT tbl, col FROM {EXCLUDED_COLUMN_TABLE}"))
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        return frozenset()


def names_left_out(connection: sqlite3.Connection) -> list[str]:
    """What is left out, as the operator wrote it: tables, and columns as TABLE.COLUMN."""
    columns = [f"{table}.{column}" for table, column in sqlite_columns_left_out(connection)]
    return sorted([*sqlite_left_out(connection), *columns])


def postgres_columns_left_out(connection: psycopg.Connection[Any]) -> frozenset[tuple[str, str]]:
    """The same, as PostgreSQL's side has them on record."""
    row = connection.execute(f"SELECT to_regclass('{EXCLUDED_COLUMN_TABLE}') IS NOT NULL".encode()).fetchone()
    if row is None or not row[0]:
        return frozenset()
    rows = connection.execute(f"SELECT tbl, col FROM {EXCLUDED_COLUMN_TABLE}".encode()).fetchall()
    return frozenset((table, column) for table, column in rows)


def sqlite_columns(connection: sqlite3.Connection) -> dict[str, dict[str, tuple[str, bool, int]]]:
    """Every table of the SQLite file that takes part: column name to (declared type, nullable, key position).

    Generated columns are left out: each side computes its own.
    """
    left_out = sqlite_left_out(connection)
    without = sqlite_columns_left_out(connection)
    tables = [
        name
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        if takes_part(name) and name not in left_out
    ]
    return {
        table: {
            name: what
            for name, what in _sqlite_columns(connection, table).items()
            if (table, name) not in without
        }
        for table in tables
    }


def _sqlite_columns(connection: sqlite3.Connection, table: str) -> dict[str, tuple[str, bool, int]]:
    columns = {
        name: (declared, not not_null, position)
        for _, name, declared, not_null, _, position, hidden in connection.execute(
            f"PRAGMA table_xinfo({quote(table)})"
        )
        if hidden == 0
    }
    if not any(position for _, _, position in columns.values()):
        for place, name in enumerate(stand_in(connection, table), 1):
            columns[name] = (*columns[name][:2], place)
    return columns


def postgres_partial_uniques(
    sqlite: sqlite3.Connection, postgres: psycopg.Connection[Any]
) -> list[tuple[str, str]]:
    """Unique indexes that are partial on SQLite and cover every row on PostgreSQL: (table, index)."""
    partial = {
        (table, row[1])
        for table in sqlite_columns(sqlite)
        for row in sqlite.execute(f"PRAGMA index_list({quote(table)})").fetchall()
        if row[2] and row[4]
    }
    whole = postgres.execute(
        "SELECT t.relname, c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "JOIN pg_class t ON t.oid = i.indrelid WHERE i.indisunique AND i.indpred IS NULL "
        "AND t.relnamespace = current_schema()::regnamespace"
    ).fetchall()
    return sorted(partial & {(table, index) for table, index in whole})


def postgres_columns(
    connection: psycopg.Connection[Any],
) -> dict[str, list[tuple[str, str, str, bool, bool, int]]]:
    """Every table of the PostgreSQL schema that takes part: (name, base type, full type, nullable, enum, key).

    Generated columns are left out, as on SQLite.
    """
    left_out = postgres_left_out(connection)
    without = postgres_columns_left_out(connection)
    tables: dict[str, list[tuple[str, str, str, bool, bool, int]]] = {}
    for table, *column in connection.execute(POSTGRES_COLUMNS).fetchall():
        if takes_part(table) and table not in left_out and (table, column[0]) not in without:
            name, base, full, *rest = column
            tables.setdefault(table, []).append((name, _unquoted(base), _unquoted(full), *rest))
    return tables


def _unquoted(kind: str) -> str:
    """A type of PostgreSQL's own, which `quote_all_identifiers` puts in quotes."""
    bare = kind.strip('"')
    return bare if bare in POSTGRES_KINDS else kind


_NO_FORM, _NO_KEY = "which has no canonical form", "which cannot be a key"
_OTHER_TYPE = "give the column a type that docs/limits.md lists, or leave it out: --leave-out TABLE"


def read_schema(
    sqlite: sqlite3.Connection,
    postgres: psycopg.Connection[Any],
    left_out: Collection[str] = (),
    without: Collection[tuple[str, str]] = (),
) -> Schema:
    """The tables of the pair, columns in PostgreSQL's order.

    Args:
        left_out: tables that take no part, besides those that the sides have on record.
        without: the same for columns, as (table, column).

    Raises:
        SchemaDrift: only one side has a table or a column. Or a column has a type without a canonical form,
            or a table has no usable primary key.
    """
    ours = {
        name: {column: what for column, what in columns.items() if (name, column) not in without}
        for name, columns in sqlite_columns(sqlite).items()
        if name not in left_out
    }
    theirs = {name: columns for name, columns in postgres_columns(postgres).items() if name not in left_out}
    labels = enum_labels(postgres)
    learnt = spellings(postgres)
    problems = [f"table {name} is only on SQLite" for name in sorted(ours.keys() - theirs.keys())]
    problems += [f"table {name} is only on PostgreSQL" for name in sorted(theirs.keys() - ours.keys())]
    schema: Schema = {}
    for name in sorted(ours.keys() & theirs.keys()):
        columns = _columns(name, ours[name], theirs[name], labels, learnt, problems)
        key = _key(name, ours[name], theirs[name], columns, problems)
        uniques, replaced = sqlite_uniques(sqlite, name), replaced_on_sqlite(sqlite, name)
        table = Table(name, tuple(columns.values()), key, uniques, replaced)
        schema[name] = _known.setdefault(table, table)
    unfit = unfit_tables(postgres, schema)
    if problems or unfit:
        problems += map(str, unfit)
        raise SchemaDrift(
            "the two sides differ: " + "; ".join(problems[:10]) + (" ..." if len(problems) > 10 else ""),
            hint=unfit[0].remedy
            if unfit
            else _OTHER_TYPE
            if all(_NO_FORM in item or _NO_KEY in item for item in problems)
            else "run st-migrate schema upgrade, or the application's own migration by st-migrate schema -- COMMAND",
        )
    return schema


_NUMBER = """
SELECT a.attnum FROM pg_attribute a
WHERE a.attrelid = to_regclass(quote_ident(s.tbl)) AND a.attname = s.col AND NOT a.attisdropped
"""
# What was learnt under a column's present name comes last, and counts. A pair of an earlier version has no numbers.
_SPELLINGS = f"""
SELECT s.tbl, coalesce(a.attname, s.col), s.form, s.mixed FROM st_spelling s LEFT JOIN pg_attribute a
ON a.attrelid = to_regclass(quote_ident(s.tbl)) AND a.attnum = (to_jsonb(s) ->> 'number')::int
AND NOT a.attisdropped AND NOT EXISTS ({_NUMBER})
ORDER BY a.attname IS NULL
"""
_HAS_NUMBER = (
    "SELECT 1 FROM pg_attribute WHERE attrelid = 'st_spelling'::regclass AND attname = 'number' "
    "AND NOT attisdropped"
)


def spellings(postgres: psycopg.Connection[Any]) -> dict[tuple[str, str], Spelling]:
    """What was learnt of the spelling of SQLite's values, by table and column. A column may have another name by now."""
    if postgres.execute("SELECT to_regclass('st_spelling') IS NULL").fetchone() == (True,):
        return {}
    rows = postgres.execute(_SPELLINGS.encode()).fetchall()
    return {(table, column): Spelling(form, mixed) for table, column, form, mixed in rows}


def keep_spellings(
    postgres: psycopg.Connection[Any],
    learnt: dict[tuple[str, str], Spelling],
    *,
    and_others: bool = False,
) -> None:
    """Put what was learnt in the place of what was known, in the caller's transaction.

    Args:
        and_others: what is known of other columns stays.

    A pair that an earlier version prepared has no place for it, and goes on as it did.
    """
    if postgres.execute("SELECT to_regclass('st_spelling') IS NULL").fetchone() == (True,):
        return
    if not and_others:
        postgres.execute("DELETE FROM st_spelling")
    with postgres.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO st_spelling (tbl, col, form, mixed) VALUES (%s, %s, %s, %s) "
            "ON CONFLICT (tbl, col) DO UPDATE SET form = excluded.form, mixed = excluded.mixed",
            [(*column, spelling.form, spelling.mixed) for column, spelling in learnt.items()],
        )
    if postgres.execute(_HAS_NUMBER).fetchone():
        postgres.execute(f"UPDATE st_spelling s SET number = coalesce(({_NUMBER}), number)".encode())


def _columns(
    table: str,
    ours: dict[str, tuple[str, bool, int]],
    theirs: list[tuple[str, str, str, bool, bool, int]],
    labels: dict[str, frozenset[str]],
    learnt: dict[tuple[str, str], Spelling],
    problems: list[str],
) -> dict[str, Column]:
    names = {column[0] for column in theirs}
    problems += [f"column {table}.{name} is only on SQLite" for name in ours if name not in names]
    columns: dict[str, Column] = {}
    for name, base, full, nullable, enum, _ in theirs:
        kind = Kind.TEXT if enum else POSTGRES_KINDS.get(base)
        if name not in ours:
            problems.append(f"column {table}.{name} is only on PostgreSQL")
        elif kind is None:
            problems.append(f"column {table}.{name} has type {full} on PostgreSQL, {_NO_FORM}")
        else:
            declared = ours[name][0]
            columns[name] = Column(
                name,
                kind,
                CASTS.get(base, base),
                nullable,
                labels.get(base, frozenset()),
                learnt.get((table, name)) or usual(kind, declared),
                limit_of(kind, full),
                affinity(declared),
            )
    return columns


def enum_labels(connection: psycopg.Connection[Any]) -> dict[str, frozenset[str]]:
    """The labels of every enum, by the name of its type."""
    return {name: frozenset(labels) for name, labels in connection.execute(ENUM_LABELS).fetchall()}


def _key(
    table: str,
    ours: dict[str, tuple[str, bool, int]],
    theirs: list[tuple[str, str, str, bool, bool, int]],
    columns: dict[str, Column],
    problems: list[str],
) -> tuple[Column, ...]:
    on_sqlite = [name for name, (_, _, position) in sorted(ours.items(), key=lambda c: c[1][2]) if position]
    on_postgres = [column[0] for column in sorted(theirs, key=lambda column: column[5]) if column[5] >= 0]
    if not on_sqlite or set(on_sqlite) != set(on_postgres):
        problems.append(f"table {table} has no key that names its rows, or not the same on both sides")
        return ()
    key = tuple(columns[name] for name in on_postgres if name in columns)
    problems += [
        f"key column {table}.{column.name} is of type {column.cast}, {_NO_KEY}"
        for column in key
        if not can_be_key(column.kind, column.cast)
    ]
    return key


def sqlite_keys(connection: sqlite3.Connection) -> Schema:
    """What capture on SQLite has to know, from SQLite alone: keys and unique keys.

    Columns that are not part of the key are left out, and kinds mean nothing. A table without a primary
    key has an empty one.
    """
    schema: Schema = {}
    for name, columns in sqlite_columns(connection).items():
        positions = sorted((position, column) for column, (_, _, position) in columns.items() if position)
        key = tuple(Column(column, Kind.TEXT, "text", False) for _, column in positions)
        uniques, replaced = sqlite_uniques(connection, name), replaced_on_sqlite(connection, name)
        schema[name] = Table(name, key, key, uniques, replaced)
    return schema


def postgres_keys(connection: psycopg.Connection[Any]) -> Schema:
    """What capture on PostgreSQL has to know, from PostgreSQL alone: keys and their kinds. See `sqlite_keys`."""
    schema: Schema = {}
    for name, columns in postgres_columns(connection).items():
        positions = sorted(
            (position, column, base) for column, base, *_, position in columns if position >= 0
        )
        key = tuple(
            Column(column, POSTGRES_KINDS.get(base, Kind.TEXT), CASTS.get(base, base), False)
            for _, column, base in positions
        )
        schema[name] = Table(name, key, key)
    return schema
