"""A stamp of both sides' schemas, kept beside each verify: what was altered or rewritten since shows at once.

A statement that changes tables can change rows as well, and no trigger sees that: ALTER TABLE ... USING, a
column that is dropped and made again with a default, a table that is rebuilt by hand, an UPDATE while the
triggers were off. The tables look the same afterwards. Three things give such a statement away. One is where
PostgreSQL keeps a table's rows and columns. The others are which transaction last changed a trigger, and
SQLite's count of schema changes. A stamp that differs means that the rows have to be compared again. It does
not mean that they differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from psycopg import errors as pg_errors

from app.db.rows.catalog import Schema
from app.db.sides.stores import Stores

CARRIED = "~"  # what the name of a run begins with once a switch has carried the verify over
_VERSION = "PRAGMA schema_version"
# Dropped columns stay on record with their number, so one that was made again under its old name has a new one.
# The rows of pg_trigger and pg_proc keep the number of the transaction that wrote them.
_POSTGRES = """
SELECT md5(concat(
  (SELECT string_agg(concat_ws(' ', c.relname, c.oid, c.relfilenode), ';' ORDER BY c.relname)
   FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY(%(names)s::text[])),
  (SELECT string_agg(concat_ws(' ', a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attcollation,
                               a.attgenerated, a.attmissingval), ';' ORDER BY a.attrelid, a.attnum)
   FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
   WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY(%(names)s::text[]) AND a.attnum > 0),
  (SELECT string_agg(concat_ws(' ', t.oid, t.xmin, t.tgenabled, p.xmin), ';' ORDER BY t.oid)
   FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
   WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY(%(names)s::text[])
   AND t.tgname LIKE 'st\\_%%'),
  (SELECT string_agg(concat_ws(' ', e.enumtypid, e.enumlabel), ';' ORDER BY e.enumtypid, e.enumlabel)
   FROM pg_enum e JOIN pg_type y ON y.oid = e.enumtypid WHERE y.typnamespace = current_schema()::regnamespace)))
"""


def schema_stamp(stores: Stores, schema: Schema) -> str:
    """A short text that changes when the tables of either side are altered, rebuilt or rewritten.

    Raises:
        ShadowUnavailable, psycopg.Error, sqlite3.Error: a side cannot be asked.
    """
    (changes,) = stores.sqlite.connection.execute(_VERSION).fetchone()
    row = stores.postgres.connection.execute(_POSTGRES.encode(), {"names": sorted(schema)}).fetchone()
    assert row is not None
    return f"{row[0][:12]}.{changes}"


@contextmanager
def own_change(stores: Stores) -> Iterator[None]:
    """Change SQLite's schema inside its write transaction, in a way that changes no row: the verify stays valid.

    PostgreSQL is told before SQLite commits. If this process dies between, the same change is made again. Its
    count of schema changes is then the one that PostgreSQL has been told already.
    """
    connection = stores.sqlite.connection
    (before,) = connection.execute(_VERSION).fetchone()
    yield
    (after,) = connection.execute(_VERSION).fetchone()
    with suppress(
        pg_errors.InsufficientPrivilege
    ):  # the application's own role: then a new verify is asked for
        stores.postgres.connection.execute(
            "UPDATE st_verify SET run = regexp_replace(run, '[0-9]+$', %s) WHERE id = 1 AND run LIKE %s",
            (str(after), f"%.{before}"),
        )


@contextmanager
def own_change_on_postgres(stores: Stores, schema: Schema) -> Iterator[None]:
    """The same for PostgreSQL's capture that is made anew, all in one transaction there."""
    before = schema_stamp(stores, schema)
    yield
    stores.postgres.connection.execute(
        "UPDATE st_verify SET run = left(run, -length(%(before)s)) || %(after)s "
        "WHERE id = 1 AND right(run, length(%(before)s)) = %(before)s",
        {"before": before, "after": schema_stamp(stores, schema)},
    )
