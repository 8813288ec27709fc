"""Indexes and foreign keys on PostgreSQL that stand only at certain times.

While PostgreSQL is being filled it has no secondary indexes. While it is the shadow it has no foreign keys.
Apply deletes and inserts rows in any order, and nothing may reject or cascade there. The definitions are kept
in `st_deferred_ddl` before the first is dropped, in the same transaction, so no crash can lose one. Foreign
keys come back at promotion, NOT VALID (a catalog change, no scan), and are validated afterwards. A key that
old orphans violate stays NOT VALID: new writes are checked, and old rows are neither lost nor altered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors as pg_errors

from app.db.common.errors import Refused
from app.db.common.failpoints import Failpoint, failpoint
from app.db.rows.catalog import KEY_INDEX, postgres_left_out, quote, takes_part
from app.db.sides.locks import hold_builders

Connection = psycopg.Connection[Any]
# What a crash of the server undoes is missing afterwards, and built again.
_BUILDING = (
    "SELECT set_config('lock_timeout', '0', true), set_config('maintenance_work_mem', '256MB', true), "
    "set_config('synchronous_commit', 'off', true)"
)

# Far below the server's deadlock_timeout of a second.
_GIVES_WAY_MS = 300

_KEYS = (
    f"SELECT i.indexrelid FROM pg_class c CROSS JOIN LATERAL {KEY_INDEX} i "
    "WHERE c.relkind IN ('r', 'p') AND c.relnamespace = current_schema()::regnamespace"
)
# Unique constraints carry their own definition; plain indexes are those no constraint owns. What stands in for a
# primary key stays: the copy finds rows by it.
_INDEXES = f"""
SELECT c.conname, t.relname, 'constraint', pg_get_constraintdef(c.oid)
FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
WHERE c.contype = 'u' AND t.relnamespace = current_schema()::regnamespace AND c.conindid NOT IN ({_KEYS})
UNION ALL
SELECT ic.relname, t.relname, 'index', pg_get_indexdef(i.indexrelid)
FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid JOIN pg_class ic ON ic.oid = i.indexrelid
WHERE t.relnamespace = current_schema()::regnamespace AND i.indexrelid NOT IN ({_KEYS})
AND NOT EXISTS (SELECT 1 FROM pg_constraint c WHERE c.conindid = i.indexrelid AND c.contype IN ('u', 'p', 'x'))
"""
_FOREIGN_KEYS = """
SELECT c.conname, t.relname, 'foreign_key', pg_get_constraintdef(c.oid)
FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
WHERE c.contype = 'f' AND c.conparentid = 0 AND t.relnamespace = current_schema()::regnamespace
"""


def _remember(connection: Connection, query: str) -> list[tuple[str, str, str]]:
    """Store what a catalog query finds. Returns (name, table, kind) of it."""
    left_out = postgres_left_out(connection)
    rows = connection.execute(query.encode()).fetchall()
    found = [row for row in rows if takes_part(row[1]) and row[1] not in left_out]
    for name, table, kind, definition in found:
        plain = definition.removesuffix(" NOT VALID")
        connection.execute(
            "INSERT INTO st_deferred_ddl (name, tbl, kind, definition) VALUES (%s, %s, %s, %s) "
            "ON CONFLICT (name, tbl) DO UPDATE SET kind = excluded.kind, definition = excluded.definition",
            (name, table, kind, plain),
        )
    return [(name, table, kind) for name, table, kind, _ in found]


def drop_foreign_keys(connection: Connection) -> int:
    """Remember and drop every foreign key, in the caller's transaction. Returns how many there were."""
    return _drop(connection, _FOREIGN_KEYS)


def drop_indexes(connection: Connection) -> int:
    """Remember and drop every secondary index and unique constraint, in the caller's transaction."""
    return _drop(connection, _INDEXES)


def _drop(connection: Connection, query: str) -> int:
    found = _remember(connection, query)
    for name, table, kind in found:
        connection.execute(
            f"DROP INDEX {quote(name)}".encode()
            if kind == "index"
            else f"ALTER TABLE {quote(table)} DROP CONSTRAINT {quote(name)}".encode()
        )
    return len(found)


@contextmanager
def giving_way(connection: Connection) -> Iterator[None]:
    """Of us and a reader of several tables, we are the one whose statement ends in a deadlock.

    Locks of the whole table are taken one after the other. A report or a pg_dump may wait for the first
    while it holds the second. The server would end one of the two, and perhaps not us. So inside this block
    a statement waits for a lock for so short a time that the server never has to choose.

    Raises:
        psycopg.errors.LockNotAvailable: from a statement inside the block; the caller tries again later.
    """
    row = connection.execute("SELECT current_setting('lock_timeout')").fetchone()
    assert row is not None
    connection.execute(f"SET LOCAL lock_timeout = '{_GIVES_WAY_MS}ms'".encode())
    yield
    connection.execute("SELECT set_config('lock_timeout', %s, true)", (row[0],))


def missing(connection: Connection, *kinds: str, name: str | None = None) -> list[tuple[str, str, str, str]]:
    """Remembered definitions of these kinds that do not stand now: (name, table, kind, definition).

    Args:
        name: only those of this name.
    """
    rows = connection.execute(
        """
        SELECT d.name, d.tbl, d.kind, d.definition FROM st_deferred_ddl d
        WHERE d.kind = ANY(%s) AND d.name = coalesce(%s, d.name) AND NOT EXISTS (
            SELECT 1 FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
            WHERE c.conname = d.name AND t.relname = d.tbl AND t.relnamespace = current_schema()::regnamespace)
        AND NOT EXISTS (
            SELECT 1 FROM pg_class i JOIN pg_index x ON x.indexrelid = i.oid AND x.indisvalid
            WHERE i.relname = d.name AND i.relnamespace = current_schema()::regnamespace AND d.kind = 'index')
        ORDER BY d.tbl, d.name
        """,
        (list(kinds), name),
    ).fetchall()
    return [tuple(row) for row in rows]


def build_indexes(connection: Connection) -> Iterator[tuple[str, str]]:
    """Build every missing index and unique constraint, each in its own transaction, yielding its name first.

    Raises:
        Refused: rows are equal under a unique key, or too long for an index. The rows are named, and stay.
    """
    for name, table, kind, definition in missing(connection, "index", "constraint"):
        yield name, table
        try:
            with connection.transaction():
                connection.execute(_BUILDING)
                # Several backfills may come to their end at once: one builds, the others find it done.
                hold_builders(connection)
                if table not in {row[1] for row in missing(connection, kind, name=name)}:
                    continue
                connection.execute(
                    definition.encode()
                    if kind == "index"
                    else f"ALTER TABLE {quote(table)} ADD CONSTRAINT {quote(name)} {definition}".encode()
                )
        except pg_errors.UniqueViolation as error:
            raise _duplicates(connection, name, table, error) from None
        except pg_errors.ProgramLimitExceeded as error:
            raise Refused(
                f"index {name} on {table} cannot be built: {error.diag.message_primary}",
                hint="shorten the indexed texts on SQLite (preflight names the rows), then repeat",
            ) from None
        failpoint(Failpoint.COPY_INDEX)


_SHOWN = 10
# "Key (a, "B c")=(1, x) is duplicated.": the columns as the server quotes them.
_KEY_DETAIL = re.compile(r"Key \((.*?)\)=\(", re.DOTALL)


def _duplicates(connection: Connection, name: str, table: str, error: pg_errors.UniqueViolation) -> Refused:
    """The refusal that names the rows which are equal under a unique key."""
    detail = error.diag.message_detail or ""
    found = _KEY_DETAIL.match(detail)
    rows = _equal_rows(connection, table, found.group(1)) if found else []
    shown = "; ".join(rows[:_SHOWN]) + ("; ..." if len(rows) > _SHOWN else "")
    return Refused(
        f"unique key {name} on {table} cannot be built: {detail}"
        + (f" Rows with keys {shown} are equal there" if rows else ""),
        reasons=tuple(rows[:_SHOWN]),
        hint="change or delete all but one of them on SQLite, then repeat; nothing is copied again",
    )


def _equal_rows(connection: Connection, table: str, columns: str) -> list[str]:
    """Keys of rows that share the values of some columns, one more than are shown."""
    keys = connection.execute(
        f"SELECT quote_ident(a.attname) FROM pg_class c CROSS JOIN LATERAL {KEY_INDEX} i "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(i.columns) "
        "WHERE c.oid = %s::regclass ORDER BY a.attnum".encode(),
        (quote(table),),
    ).fetchall()
    key = ", ".join(row[0] for row in keys)
    present = f"num_nulls({columns}) = 0"
    rows = connection.execute(
        f"SELECT concat_ws(', ', {key}) FROM (SELECT {key}, count(*) OVER (PARTITION BY {columns}) AS n "
        f"FROM {quote(table)} WHERE {present}) AS counted WHERE n > 1 LIMIT {_SHOWN + 1}".encode()
    ).fetchall()
    return [row[0] for row in rows]


def add_foreign_keys(connection: Connection) -> int:
    """Add every missing foreign key NOT VALID, in the caller's transaction. Returns how many."""
    wanted = missing(connection, "foreign_key")
    with connection.pipeline():
        for name, table, _, definition in wanted:
            connection.execute(
                f"ALTER TABLE {quote(table)} ADD CONSTRAINT {quote(name)} {definition} NOT VALID".encode()
            )
    return len(wanted)


def validate_foreign_keys(connection: Connection) -> list[str]:
    """Validate what can be validated, each key in its own transaction; writers are not blocked.

    Returns:
        The keys that orphans keep from being valid.
    """
    rows = connection.execute(
        "SELECT c.conname, t.relname FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid "
        "WHERE c.contype = 'f' AND NOT c.convalidated AND t.relnamespace = current_schema()::regnamespace"
    ).fetchall()
    violated: list[str] = []
    for name, table in rows:
        try:
            connection.execute(f"ALTER TABLE {quote(table)} VALIDATE CONSTRAINT {quote(name)}".encode())
        except pg_errors.ForeignKeyViolation:
            violated.append(f"{table}.{name}")
    return violated
