"""What makes an Alembic chain that was written for SQLite come out right on PostgreSQL.

SQLite enforces neither the length of a text nor the range of an integer, and it takes 0 and 1 for Booleans.
PostgreSQL has to accept the same values, so:

1. while tables are described (`install_portable_defaults`), Boolean defaults are spelt for each database. On
   PostgreSQL integers are 64 bits wide and values are bound as SQLite would store them;
2. after each revision (`normalise_postgres`), the columns that the revision made are widened in place.

Both leave SQLite exactly as it is, and neither needs a change in the chain or in the models.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple

import psycopg
import sqlalchemy as sa
from sqlalchemy import DateTime, Float, event
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ClauseElement
from sqlalchemy.types import TypeDecorator

from app.db.rows.catalog import EXCLUDED_TABLE, takes_part

UTC_NOW = "timezone('utc', now())"
_POSTGRES = sa.URL.create("postgresql+psycopg").get_dialect()()


class WallClock(TypeDecorator[datetime]):
    """A time without a zone: an offset is dropped, as on SQLite, and not converted by the session's zone."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value if value is None or value.tzinfo is None else value.replace(tzinfo=None)


class NumberOrNull(TypeDecorator[float]):
    """A double as SQLite keeps it: NULL for what is not a number, so that NOT NULL catches it, and plain zero."""

    impl = Float
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        return None if value is None or math.isnan(value) else value + 0.0


class BooleanDefault(ClauseElement):
    """The default 0 or 1 of a Boolean: as it was written, but `false` or `true` on PostgreSQL."""

    inherit_cache = False

    def __init__(self, written: str, value: bool) -> None:
        self.written = written
        self.value = value


@compiles(BooleanDefault)
def _as_written(element: BooleanDefault, compiler: SQLCompiler, **_: Any) -> str:
    return element.written


@compiles(BooleanDefault, "postgresql")
def _as_boolean(element: BooleanDefault, compiler: SQLCompiler, **_: Any) -> str:
    return "true" if element.value else "false"


def install_portable_defaults() -> None:
    """Adapt every column from now on when it joins its table. Calling it again changes nothing."""
    if not event.contains(sa.Column, "after_parent_attach", _adapt):
        event.listen(sa.Column, "after_parent_attach", _adapt)


def _adapt(column: sa.Column[Any], parent: object) -> None:
    kind = column.type
    if isinstance(kind, sa.Boolean):
        _adapt_boolean_default(column)
        return
    if "postgresql" in kind._variant_mapping:  # the model's own choice, or ours at an earlier table
        return
    variant = _variant(kind)
    if variant and not isinstance(kind.dialect_impl(_POSTGRES), type(variant)):
        column.type = kind.with_variant(variant, "postgresql")


def _variant(kind: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any] | None:
    """The type that takes a column's place on PostgreSQL."""
    match kind:
        case sa.Integer():
            # The driver casts what it binds to the declared width, whatever the column can hold.
            return sa.BigInteger()
        case sa.DateTime():
            return WallClock()
        case sa.Float():
            return NumberOrNull()
        case sa.String() if not isinstance(kind, sa.Enum) and kind.collation is None:
            return sa.Text(collation="C")  # at once, so that a view of the same revision finds it so
    return None


_ZERO_OR_ONE = re.compile(r"[\s(']*([01])[\s)']*")  # as SQL may be written: 1, '1', (1)


def _adapt_boolean_default(column: sa.Column[Any]) -> None:
    default = column.server_default
    if not isinstance(default, sa.DefaultClause):
        return
    if isinstance(default.arg, str) and default.arg in ("0", "1"):
        column.server_default = sa.DefaultClause(BooleanDefault(f"'{default.arg}'", default.arg == "1"))
    elif isinstance(default.arg, sa.TextClause) and (digit := _ZERO_OR_ONE.fullmatch(default.arg.text)):
        column.server_default = sa.DefaultClause(BooleanDefault(default.arg.text, digit[1] == "1"))


def ensure_version_table(connection: sa.Connection) -> None:
    """Create Alembic's version table on PostgreSQL, wide enough for ids of any length, if it is missing."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(
            'CREATE TABLE IF NOT EXISTS alembic_version (version_num text COLLATE "C" NOT NULL,'
            " CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
        )


# Columns of the tables in the current schema that this role owns. Our own tables, extensions' tables and
# columns that are wide enough are left out, because the chain asks after each revision. Narrow sequences are
# looked up once.
_COLUMNS = r"""
WITH narrow AS MATERIALIZED (
  SELECT dep.refobjid, dep.refobjsubid, min(s.seqrelid::regclass::text) AS sequence
    FROM pg_sequence s JOIN pg_depend dep ON dep.objid = s.seqrelid
   WHERE dep.classid = 'pg_class'::regclass AND dep.refclassid = 'pg_class'::regclass
     AND dep.deptype = 'a' AND s.seqtypid <> 'bigint'::regtype
   GROUP BY 1, 2)
SELECT format('%I.%I', n.nspname, c.relname) AS table_name,
       format('%I', a.attname) AS column_name,
       t.typname AS type_name,
       a.atttypmod AS modifier,
       co.collname IS NOT DISTINCT FROM 'C' AS bytewise,
       pg_get_expr(d.adbin, d.adrelid) AS default_text,
       narrow.sequence AS narrow_sequence,
       c.relname AS bare_name
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_collation co ON co.oid = a.attcollation
  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
  LEFT JOIN narrow ON narrow.refobjid = c.oid AND narrow.refobjsubid = a.attnum
 WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p')
   AND a.attinhcount = 0 AND a.attgenerated = ''
   AND (t.typname IN ('varchar', 'bpchar', 'int2', 'int4', 'float4')
        OR t.typname = 'text' AND co.collname IS DISTINCT FROM 'C'
        OR t.typname = 'timestamp' AND (a.atttypmod <> -1 OR a.atthasdef)
        OR narrow.sequence IS NOT NULL)
   AND pg_has_role(c.relowner, 'MEMBER')
   AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass
                      AND e.objid = c.oid AND e.deptype = 'e')
 ORDER BY c.oid, a.attnum
"""


# Generated columns of those tables: what they are computed from, and all that it takes to make one anew.
_GENERATED = r"""
SELECT format('%I.%I', n.nspname, c.relname) AS table_name,
       format('%I', a.attname) AS column_name,
       format('%I %s%s GENERATED ALWAYS AS (%s) %s%s', a.attname, format_type(a.atttypid, a.atttypmod),
              ' COLLATE ' || co.oid::regcollation, pg_get_expr(d.adbin, d.adrelid),
              CASE a.attgenerated WHEN 's' THEN 'STORED' ELSE 'VIRTUAL' END,
              CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END) AS definition,
       ARRAY(SELECT format('%I', s.attname) FROM pg_depend p
               JOIN pg_attribute s ON s.attrelid = c.oid AND s.attnum = p.refobjsubid AND s.attnum <> a.attnum
              WHERE p.refclassid = 'pg_class'::regclass AND p.refobjid = c.oid
                AND (p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid
                     OR p.classid = 'pg_class'::regclass AND p.objid = c.oid AND p.objsubid = a.attnum)) AS sources,
       ARRAY(SELECT coalesce('ALTER TABLE ' || c.oid::regclass || ' ADD CONSTRAINT ' || quote_ident(k.conname)
                             || ' ' || pg_get_constraintdef(k.oid), pg_get_indexdef(i.indexrelid))
               FROM pg_depend p
               LEFT JOIN pg_constraint k ON p.classid = 'pg_constraint'::regclass AND k.oid = p.objid AND k.contype <> 'n'
               LEFT JOIN pg_index i ON p.classid = 'pg_class'::regclass AND i.indexrelid = p.objid
              WHERE p.refclassid = 'pg_class'::regclass AND p.refobjid = c.oid AND p.refobjsubid = a.attnum
                AND (k.oid IS NOT NULL OR i.indexrelid IS NOT NULL)
              ORDER BY 1) AS with_it
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attgenerated <> '' AND NOT a.attisdropped
  JOIN pg_type t ON t.oid = a.atttypid
  JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
  LEFT JOIN pg_collation co ON co.oid = a.attcollation AND a.attcollation <> t.typcollation
 WHERE n.nspname = current_schema() AND a.attinhcount = 0
 ORDER BY c.oid, a.attnum
"""


def _left_out(connection: sa.Connection) -> frozenset[str]:
    """The tables that the operator left out of the move."""
    recorded = connection.exec_driver_sql(f"SELECT to_regclass('{EXCLUDED_TABLE}') IS NOT NULL").scalar_one()
    if not recorded:
        return frozenset()
    return frozenset(connection.exec_driver_sql(f"SELECT tbl FROM {EXCLUDED_TABLE}").scalars())


# The current time in any spelling that the catalog shows, with the casts around it.
_CURRENT_TIME = re.compile(
    r"\(*(?:now\(\)|(?:transaction|statement|clock)_timestamp\(\)|'now'::text"
    r"|(?:CURRENT_TIMESTAMP|LOCALTIMESTAMP)(?:\(\d\))?)"
    r"(?:\)|::timestamp(?:\(\d\))? with(?:out)? time zone)*"
)


def normalise_postgres(connection: sa.Connection, *, tables: Collection[str] | None = None) -> list[str]:
    """Widen what PostgreSQL would refuse and SQLite accepts, in all application tables of the schema.

    Texts lose their limit and sort by bytes, integers get 64 bits, floats double precision. Times without a
    zone default to the current time in UTC whatever the session's zone. A column that was made with a zone
    stays as it is: its application reads instants from it.

    Args:
        tables: only these, as PostgreSQL names them. None for all.

    Returns:
        The statements that were run. None if there was nothing to do, or on another database.
    """
    if connection.dialect.name != "postgresql":
        return []
    left_out = _left_out(connection)
    rows = [
        row
        for row in connection.execute(sa.text(_COLUMNS.replace(":", r"\:"))).all()
        if takes_part(row.bare_name)
        and row.bare_name not in left_out
        and (tables is None or row.bare_name in tables)
    ]
    changes = any(map(_target_type, rows))
    generated = connection.execute(sa.text(_GENERATED.replace(":", r"\:"))).all() if changes else []
    statements = _widening(rows, generated)
    for statement in statements:
        connection.exec_driver_sql(statement.replace("%", "%%"))
    return statements


def widen_created_tables(metadata: sa.MetaData) -> None:
    """Have `metadata.create_all` make on PostgreSQL what the chain makes there."""

    @event.listens_for(metadata, "after_create")
    def after_create(_: Any, connection: sa.Connection, tables: Collection[sa.Table] = (), **__: Any) -> None:
        normalise_postgres(connection, tables=frozenset(table.name for table in tables))


class _ColumnRow(NamedTuple):
    """One row of `_COLUMNS`."""

    table_name: str
    column_name: str
    type_name: str
    modifier: int
    bytewise: bool
    default_text: str | None
    narrow_sequence: str | None
    bare_name: str


def narrow_columns(connection: psycopg.Connection[Any]) -> list[str]:
    """The columns whose type PostgreSQL cannot hold all values of SQLite in, as `table.column`; read only.

    They come from a migration that was not run by `app.db`; `normalise_postgres` widens them.
    """
    rows = [_ColumnRow(*row) for row in connection.execute(_COLUMNS.encode()).fetchall()]
    return [
        f"{row.bare_name}.{row.column_name}" for row in rows if takes_part(row.bare_name) and _is_narrow(row)
    ]


def _is_narrow(row: _ColumnRow) -> bool:
    limited = row.type_name in ("varchar", "bpchar") and row.modifier != -1
    return limited or row.type_name in ("int2", "int4", "float4") or bool(row.narrow_sequence)


def _widening(columns: Sequence[Any], generated: Sequence[Any]) -> list[str]:
    """One ALTER TABLE per table that needs one, then its sequences.

    PostgreSQL changes no column under a generated one. So the generated one goes, and comes back behind the
    others, with its constraints and indexes.
    """
    statements = []
    for table, rows in groupby(columns, key=lambda row: row.table_name):
        found = list(rows)
        actions = [action for row in found for action in _actions(row)]
        changed = {row.column_name for row in found if _target_type(row)}
        over = [item for item in generated if item.table_name == table and changed.intersection(item.sources)]
        if actions:
            dropped = [f"DROP COLUMN {item.column_name}" for item in over]
            made = [f"ADD COLUMN {item.definition}" for item in over]
            statements += [
                f"ALTER TABLE {table} " + ", ".join(part) for part in (dropped, actions, made) if part
            ]
            statements += dict.fromkeys(one for item in over for one in item.with_it)
        statements += [f"ALTER SEQUENCE {r.narrow_sequence} AS bigint" for r in found if r.narrow_sequence]
    return statements


def _actions(row: Any) -> Iterator[str]:
    """The parts of ALTER TABLE that one column needs."""
    column = f"ALTER COLUMN {row.column_name}"
    target = _target_type(row)
    if target:
        yield f"{column} TYPE {target}"
    if row.default_text and row.type_name == "timestamp" and _CURRENT_TIME.fullmatch(row.default_text):
        yield f"{column} SET DEFAULT {UTC_NOW}"


def _target_type(row: Any) -> str | None:
    match row.type_name:
        case "varchar" | "bpchar":
            return 'text COLLATE "C"'
        case "text" if not row.bytewise:
            return 'text COLLATE "C"'
        case "int2" | "int4":
            return "bigint"
        case "float4":
            return "double precision"
        case "timestamp" if row.modifier != -1:
            return "timestamp without time zone"
    return None
