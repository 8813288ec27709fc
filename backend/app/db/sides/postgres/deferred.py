"""Indexes and foreign keys on PostgreSQL that stand only at certain times.

While PostgreSQL is being filled it has no secondary indexes. While it is the shadow it has no foreign keys.
Apply deletes and inserts rows in any order, and nothing may reject or cascade there. The definitions are kept
in `st_deferred_ddl` before the first is dropped, in the same transaction, so no crash can lose one. Foreign
keys come back at promotion, NOT VALID (a catalog change, no scan), and are validated afterwards. A key that
old orphans violate stays NOT VALID: new writes are checked, and old rows are neither lost nor altered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg
from psycopg import errors as pg_errors

from app.db.common.errors import Refused
from app.db.common.failpoints import Failpoint, failpoint
from app.db.rows.catalog import KEY_INDEX, literal, postgres_left_out, quote, takes_part
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
# What no definition has, by name. See `Deferred.statements`.
_OF_INDEX = """jsonb_build_object('index_comment', obj_description(i.indexrelid, 'pg_class'),
  'clustered', nullif(i.indisclustered, false),
  'tablespace', (SELECT spcname FROM pg_tablespace WHERE oid = ic.reltablespace),
  'statistics', (SELECT jsonb_object_agg(attnum, attstattarget) FROM pg_attribute
                 WHERE attrelid = i.indexrelid AND attstattarget >= 0))"""
# Unique constraints carry their own definition; plain indexes are those no constraint owns. What stands in for a
# primary key stays: the copy finds rows by it.
_INDEXES = f"""
SELECT c.conname, t.relname, 'constraint', pg_get_constraintdef(c.oid), jsonb_strip_nulls({_OF_INDEX} || jsonb_build_object(
  'comment', obj_description(c.oid, 'pg_constraint'), 'options', array_to_string(ic.reloptions, ', ')))::text
FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
JOIN pg_index i ON i.indexrelid = c.conindid JOIN pg_class ic ON ic.oid = i.indexrelid
WHERE c.contype = 'u' AND t.relnamespace = current_schema()::regnamespace AND c.conindid NOT IN ({_KEYS})
UNION ALL
SELECT ic.relname, t.relname, 'index', pg_get_indexdef(i.indexrelid), jsonb_strip_nulls({_OF_INDEX})::text
FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid JOIN pg_class ic ON ic.oid = i.indexrelid
WHERE t.relnamespace = current_schema()::regnamespace AND i.indexrelid NOT IN ({_KEYS})
AND NOT EXISTS (SELECT 1 FROM pg_constraint c WHERE c.conindid = i.indexrelid AND c.contype IN ('u', 'p', 'x'))
"""
_FOREIGN_KEYS = """
SELECT c.conname, t.relname, 'foreign_key', pg_get_constraintdef(c.oid), jsonb_strip_nulls(jsonb_build_object(
  'comment', obj_description(c.oid, 'pg_constraint'), 'not_valid', nullif(NOT c.convalidated, false)))::text
FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
WHERE c.contype = 'f' AND c.conparentid = 0 AND t.relnamespace = current_schema()::regnamespace
"""
_HAS_TRAITS = (
    "SELECT 1 FROM pg_attribute WHERE attrelid = 'st_deferred_ddl'::regclass AND attname = 'traits' "
    "AND NOT attisdropped"
)


class Deferred(NamedTuple):
    """An index, unique constraint or foreign key that is remembered."""

    name: str
    table: str
    kind: str
    definition: str
    traits: Mapping[str, Any]

    def statements(self, *, valid: bool = True) -> Iterator[str]:
        """What makes it, and gives it what no definition has: its comments and settings.

        Args:
            valid: whether the rows that stand have to fulfil it.
        """
        name, table = quote(self.name), quote(self.table)
        if self.kind == "index":
            yield self.definition
        else:
            later = "" if valid else " NOT VALID"
            yield f"ALTER TABLE {table} ADD CONSTRAINT {name} {self.definition}{later}"
        index = f"ALTER INDEX {name}"
        if options := self.traits.get("options"):
            yield f"{index} SET ({options})"
        if tablespace := self.traits.get("tablespace"):
            yield f"{index} SET TABLESPACE {quote(tablespace)}"
        for column, target in self.traits.get("statistics", {}).items():
            yield f"{index} ALTER COLUMN {column} SET STATISTICS {target}"
        if comment := self.traits.get("index_comment"):
            yield f"COMMENT ON INDEX {name} IS {literal(comment)}"
        if comment := self.traits.get("comment"):
            yield f"COMMENT ON CONSTRAINT {name} ON {table} IS {literal(comment)}"
        if self.traits.get("clustered"):
            yield f"ALTER TABLE {table} CLUSTER ON {name}"


def _remember(connection: Connection, query: str) -> list[tuple[str, str, str]]:
    """Store what a catalog query finds. Returns (name, table, kind) of it."""
    left_out = postgres_left_out(connection)
    rows = connection.execute(query.encode()).fetchall()
    found = [row for row in rows if takes_part(row[1]) and row[1] not in left_out]
    # A pair of an earlier version goes without comments and settings until `prepare` is repeated.
    has_traits = connection.execute(_HAS_TRAITS.encode()).fetchone() is not None
    for name, table, kind, definition, traits in found:
        values = {"kind": kind, "definition": definition.removesuffix(" NOT VALID")}
        if has_traits:
            values["traits"] = traits
        connection.execute(
            f"INSERT INTO st_deferred_ddl (name, tbl, {', '.join(values)}) VALUES (%s, %s{', %s' * len(values)}) "
            f"ON CONFLICT (name, tbl) DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in values)}".encode(),
            (name, table, *values.values()),
        )
    return [(name, table, kind) for name, table, kind, *_ in found]


def drop_foreign_keys(connection: Connection) -> int:
    """Remember and drop every foreign key, in the caller's transaction. Returns how many there were."""
    return _drop(connection, _FOREIGN_KEYS)


def drop_indexes(connection: Connection) -> int:
    """Remember and drop every secondary index and unique constraint, in the caller's transaction."""
    return _drop(connection, _INDEXES)


def _drop(connection: Connection, query: str) -> int:
    found = _remember(connection, query)
    for name, table, kind in found:
        try:
            connection.execute(
                f"DROP INDEX {quote(name)}".encode()
                if kind == "index"
                else f"ALTER TABLE {quote(table)} DROP CONSTRAINT {quote(name)}".encode()
            )
        except pg_errors.DependentObjectsStillExist as error:
            raise Refused(
                f"{name} on {table} has to be taken down for a time, and cannot be: {error.diag.message_detail}",
                hint="drop what depends on it (on PostgreSQL) until the copy is done, then repeat",
            ) from None
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


def missing(connection: Connection, *kinds: str, name: str | None = None) -> list[Deferred]:
    """Remembered definitions of these kinds that do not stand now.

    Args:
        name: only those of this name.
    """
    rows = connection.execute(
        """
        SELECT d.name, d.tbl, d.kind, d.definition, coalesce(to_jsonb(d) ->> 'traits', '{}') FROM st_deferred_ddl d
        WHERE d.kind = ANY(%s) AND d.name = coalesce(%s, d.name) AND NOT EXISTS (
            SELECT 1 FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
            WHERE c.conname = d.name AND t.relname = d.tbl AND t.relnamespace = current_schema()::regnamespace)
        AND NOT EXISTS (
            SELECT 1 FROM pg_class i JOIN pg_index x ON x.indexrelid = i.oid AND x.indisvalid
            WHERE i.relname = d.name AND i.relnamespace = current_schema()::regnamespace AND d.kind = 'index')
        ORDER BY d.kind = 'foreign_key', d.tbl, d.name
        """,
        (list(kinds), name),
    ).fetchall()
    return [Deferred(name, table, kind, sql, json.loads(traits)) for name, table, kind, sql, traits in rows]


def build_indexes(connection: Connection) -> Iterator[tuple[str, str]]:
    """Build every missing index and unique constraint, each in its own transaction, yielding its name first.

    Raises:
        Refused: rows are equal under a unique key, or too long for an index. The rows are named, and stay.
    """
    for item in missing(connection, "index", "constraint"):
        name, table = item.name, item.table
        yield name, table
        try:
            with connection.transaction():
                connection.execute(_BUILDING)
                # Several backfills may come to their end at once: one builds, the others find it done.
                hold_builders(connection)
                if table not in {other.table for other in missing(connection, item.kind, name=name)}:
                    continue
                for statement in item.statements():
                    connection.execute(statement.encode())
        except pg_errors.UniqueViolation as error:
            raise _duplicates(connection, item, error) from None
        except pg_errors.ProgramLimitExceeded as error:
            raise Refused(
                f"index {name} on {table} cannot be built: {error.diag.message_primary}",
                hint="shorten the indexed texts on SQLite (preflight names the rows), then repeat",
            ) from None
        failpoint(Failpoint.COPY_INDEX)


_SHOWN = 10
# "Key (a, "B c")=(1, x) is duplicated.": the columns as the server quotes them.
_KEY_DETAIL = re.compile(r"Key \((.*?)\)=\(", re.DOTALL)


def _duplicates(connection: Connection, item: Deferred, error: pg_errors.UniqueViolation) -> Refused:
    """The refusal that names the rows which are equal under a unique key."""
    detail = error.diag.message_detail or ""
    found = _KEY_DETAIL.match(detail)
    rows = _equal_rows(connection, item, found.group(1)) if found else []
    shown = "; ".join(rows[:_SHOWN]) + ("; ..." if len(rows) > _SHOWN else "")
    return Refused(
        f"unique key {item.name} on {item.table} cannot be built: {detail}"
        + (f" Rows with keys {shown} are equal there" if rows else ""),
        reasons=tuple(rows[:_SHOWN]),
        hint="change or delete all but one of them on SQLite, then repeat; nothing is copied again",
    )


def _equal_rows(connection: Connection, item: Deferred, columns: str) -> list[str]:
    """Keys of rows that share the values of some columns, one more than are shown."""
    keys = connection.execute(
        f"SELECT quote_ident(a.attname) FROM pg_class c CROSS JOIN LATERAL {KEY_INDEX} i "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(i.columns) "
        "WHERE c.oid = %s::regclass ORDER BY a.attnum".encode(),
        (quote(item.table),),
    ).fetchall()
    key = ", ".join(row[0] for row in keys)
    covered = item.definition.partition(" WHERE ")[2] if item.kind == "index" else ""
    present = "true" if " NULLS NOT DISTINCT" in item.definition else f"num_nulls({columns}) = 0"
    rows = connection.execute(
        f"SELECT concat_ws(', ', {key}) FROM (SELECT {key}, count(*) OVER (PARTITION BY {columns}) AS n "
        f"FROM {quote(item.table)} WHERE {present} AND ({covered or 'true'})) AS counted WHERE n > 1 "
        f"LIMIT {_SHOWN + 1}".encode()
    ).fetchall()
    return [row[0] for row in rows]


def add_foreign_keys(connection: Connection) -> int:
    """Add every missing foreign key NOT VALID, in the caller's transaction. Returns how many."""
    wanted = missing(connection, "foreign_key")
    with connection.pipeline():
        for item in wanted:
            for statement in item.statements(valid=False):
                connection.execute(statement.encode())
    return len(wanted)


def validate_foreign_keys(connection: Connection) -> list[str]:
    """Validate what can be validated, each key in its own transaction; writers are not blocked.

    Returns:
        The keys that orphans keep from being valid.
    """
    rows = connection.execute(
        "SELECT c.conname, t.relname FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid "
        "WHERE c.contype = 'f' AND NOT c.convalidated AND t.relnamespace = current_schema()::regnamespace "
        "AND coalesce((to_jsonb(c) ->> 'conenforced')::boolean, true)"
    ).fetchall()
    violated: list[str] = []
    for name, table in rows:
        try:
            connection.execute(f"ALTER TABLE {quote(table)} VALIDATE CONSTRAINT {quote(name)}".encode())
        except pg_errors.ForeignKeyViolation:
            violated.append(f"{table}.{name}")
    return violated
