"""What stood on PostgreSQL before `prepare`, so that it is left as it was found.

`remember` writes it down in `st_found`, in the transaction that claims the database. `restore` is the way
back, for a `prepare` that failed and for `abort`: what was made since is dropped. What was found is emptied
and gets its column types, defaults, indexes and foreign keys again. It also gets the rows of an installer
(`remember_rows`). Other rows that were discarded do not come back.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import psycopg

from app.db.rows.catalog import (
    BOOKKEEPING,
    VERSION_TABLE,
    literal,
    postgres_left_out,
    quote,
    takes_part,
)
from app.db.sides.locks import mark_applying_postgres
from app.db.sides.postgres import deferred

Connection = psycopg.Connection[Any]
_OBJECTS = """
SELECT c.relname, CASE WHEN c.relkind IN ('r', 'p') THEN 'table' WHEN c.relkind = 'v' THEN 'view'
                       WHEN c.relkind = 'm' THEN 'materialized view' ELSE 'sequence' END
FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('a', 'i', 'e'))
UNION ALL
SELECT t.typname, CASE t.typtype WHEN 'd' THEN 'domain' ELSE 'type' END FROM pg_type t
WHERE t.typnamespace = current_schema()::regnamespace AND t.typtype IN ('e', 'd')
"""
_COLUMNS = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), co.collname, pg_get_expr(d.adbin, d.adrelid)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_collation co ON co.oid = a.attcollation
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND a.attgenerated = ''
ORDER BY c.relname, a.attnum
"""
_Columns = dict[str, list[list[str | None]]]


def remember(connection: Connection) -> None:
    """Write down what stands, in the caller's transaction."""
    columns = _columns(connection)
    for name, kind in connection.execute(_OBJECTS.encode()).fetchall():
        if name not in BOOKKEEPING:
            connection.execute(
                "INSERT INTO st_found (name, kind, columns) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                (name, kind, json.dumps(columns.get(name, []))),
            )


def remember_rows(connection: Connection, tables: Collection[str], most: int) -> None:
    """Write down the rows of tables that have no more than so many, as PostgreSQL spells them, each as one text."""
    for table in tables:
        rows = connection.execute(
            f"SELECT (t.*)::text FROM {quote(table)} AS t LIMIT {most + 1}".encode()
        ).fetchall()
        if 0 < len(rows) <= most:
            connection.execute(
                "INSERT INTO st_found (name, kind, columns) VALUES (%s, 'rows', %s) ON CONFLICT DO NOTHING",
                (table, json.dumps([text for (text,) in rows])),
            )


def _put_rows_back(connection: Connection, table: str, rows: list[str]) -> None:
    """Insert remembered rows as they were; a generated column computes its value again."""
    columns = [
        quote(name)
        for (name,) in connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped "
            "AND attgenerated = '' ORDER BY attnum",
            (quote(table),),
        ).fetchall()
    ]
    whole, names = quote(table).replace("%", "%%"), ", ".join(columns).replace("%", "%%")
    fields = ", ".join(f"(r.t).{name}" for name in columns).replace("%", "%%")
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {whole} ({names}) OVERRIDING SYSTEM VALUE SELECT {fields} "
            f"FROM (SELECT %s::{whole} AS t) AS r".encode(),
            [(row,) for row in rows],
        )


def note_emptied(connection: Connection) -> None:
    """Put on record that the rows which were found are gone, in the transaction that removes them."""
    connection.execute(
        "INSERT INTO st_found (name, kind, columns) VALUES ('', 'emptied', '[]') ON CONFLICT DO NOTHING"
    )


def note_made(connection: Connection, index: str) -> None:
    """Put on record an index that `prepare` made on a table, which may have been found."""
    connection.execute(
        "INSERT INTO st_found (name, kind, columns) VALUES (%s, 'made index', '[]') ON CONFLICT DO NOTHING",
        (index,),
    )


def _columns(connection: Connection) -> _Columns:
    columns: _Columns = {}
    for table, *column in connection.execute(_COLUMNS.encode()).fetchall():
        columns.setdefault(table, []).append(column)
    return columns


def restore(connection: Connection, only: Collection[str] | None = None) -> list[str]:
    """Leave the schema as it was found, in the caller's transaction.

    Args:
        only: tables that may be dropped or emptied; None: every table that was not there before.

    Returns:
        The tables that were found, and are left empty.
    """
    recorded = connection.execute("SELECT to_regclass('st_found') IS NOT NULL").fetchone() == (True,)
    rows = connection.execute("SELECT name, kind, columns FROM st_found").fetchall() if recorded else []
    before = {(name, kind): json.loads(columns) for name, kind, columns in rows}
    left_out = postgres_left_out(connection)
    standing = [row for row in connection.execute(_OBJECTS.encode()).fetchall() if row[0] not in BOOKKEEPING]
    new = [row for row in standing if row not in before and row[0] not in left_out]
    mark_applying_postgres(connection, 1)  # the way through the fence, whose epoch is that of the claim
    if recorded:
        for name, kind in new:
            if kind in ("view", "materialized view"):
                connection.execute(f"DROP {kind.upper()} IF EXISTS {quote(name)} CASCADE".encode())
    made = [
        name for name, kind in new if kind == "table" and (only is None or name in {*only, VERSION_TABLE})
    ]
    found = [
        name
        for name, kind in before
        if kind == "table" and takes_part(name) and name not in left_out and (only is None or name in only)
    ]
    _drop_foreign_keys(connection, made)
    for name in made:
        connection.execute(f"DROP TABLE IF EXISTS {quote(name)}".encode())
    if recorded:
        for name, kind in new:
            if kind in ("sequence", "type", "domain"):
                connection.execute(f"DROP {kind.upper()} IF EXISTS {quote(name)}".encode())
    emptied = ("", "emptied") in before
    touched = _empty(connection, {name: before[name, "table"] for name in found}, emptied)
    for name in touched if emptied else ():
        _put_rows_back(connection, name, before.get((name, "rows"), []))
    _put_keys_back(connection, touched)
    for name in [name for name, kind in before if kind == "made index"]:
        connection.execute(f"DROP INDEX IF EXISTS {quote(name)}".encode())
    return touched


def _drop_foreign_keys(connection: Connection, tables: list[str]) -> None:
    """Keys among the tables that are to go, so that their order does not matter."""
    for name, table in connection.execute(
        "SELECT c.conname, t.relname FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid "
        "WHERE c.contype = 'f' AND c.conparentid = 0 AND t.relnamespace = current_schema()::regnamespace "
        "AND t.relname = ANY(%s)",
        (tables,),
    ).fetchall():
        connection.execute(f"ALTER TABLE {quote(table)} DROP CONSTRAINT {quote(name)}".encode())


def _empty(connection: Connection, found: _Columns, emptied: bool) -> list[str]:
    """Empty the tables that were found, if `prepare` came to that, then give them the types that they had."""
    standing = _columns(connection)
    touched = [name for name in found if name in standing]
    if not touched:
        return []
    if emptied:
        connection.execute(f"TRUNCATE {', '.join(map(quote, touched))}".encode())
    for name in touched:
        now = {column[0]: column for column in standing[name]}
        actions = [
            action
            for column in found[name]
            if column[0] in now
            for action in _undo(column, now[str(column[0])])
        ]
        if actions:
            connection.execute(f"ALTER TABLE {quote(name)} {', '.join(actions)}".encode())
    return touched


def _put_keys_back(connection: Connection, touched: list[str]) -> None:
    for item in deferred.missing(connection, "index", "constraint", "foreign_key"):
        if item.table in touched:
            for statement in item.statements(valid=not item.traits.get("not_valid")):
                connection.execute(statement.encode())


def _undo(before: list[str | None], now: list[str | None]) -> list[str]:
    name, kind, collation, default = before
    column = f"ALTER COLUMN {quote(str(name))}"
    actions = []
    if (kind, collation) != (now[1], now[2]):
        collate = f" COLLATE {quote(collation)}" if collation else ""
        actions.append(f"{column} TYPE {kind}{collate} USING {quote(str(name))}::{kind}")
    if default != now[3]:
        actions.append(f"{column} SET DEFAULT {default}" if default else f"{column} DROP DEFAULT")
    return actions


def leave_out(
    connection: Connection, tables: Collection[str], columns: Collection[tuple[str, str]] = ()
) -> None:
    """Put on record what takes no part, in the caller's transaction."""
    for table in tables:
        connection.execute(
            f"INSERT INTO st_excluded (tbl) VALUES ({literal(table)}) ON CONFLICT DO NOTHING".encode()
        )
    for place in columns:
        connection.execute(
            "INSERT INTO st_excluded_column (tbl, col) VALUES (%s, %s) ON CONFLICT DO NOTHING", place
        )
