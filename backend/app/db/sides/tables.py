"""The bookkeeping tables, once for both sides.

Six stand on both sides. `st_control` says who is primary, and holds the fence and the attempt. `st_watermark`
says what of the other side's log has been applied here. `st_change_log` says what changed here. `st_pending`
is for strict mode: what was written here before the primary committed it. `st_excluded` and
`st_excluded_column` say what is left out. The rest stands on PostgreSQL, the arbiter.
"""

from __future__ import annotations

import sqlite3

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    text,
)
from sqlalchemy.engine import URL, Dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from app.db.common.urls import Side

both = MetaData()
arbiter = MetaData()

# One row. `writable` is the fence: false refuses application writes on this side. `applying` is 1
# only inside an applier's own SQLite transaction and 2 only inside a migration's, where nobody else can see it.
control = Table(
    "st_control",
    both,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("pair", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("primary_side", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("phase", Text, nullable=False),
    Column("writable", Boolean, nullable=False),
    Column("applying", Boolean, nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("attempt", Text),
    Column("attempt_state", Text),
    Column("attempt_deadline", Double),
    Column("note", Text),
)

# One row, written by every round of apply. Position: a seq of SQLite's log when it stands on
# PostgreSQL, a pg_snapshot when it stands on SQLite.
watermark = Table(
    "st_watermark",
    both,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("position", Text, nullable=False),
    Column("changes", BigInteger, nullable=False),
    Column("applied_at", Double, nullable=False),
    # Number and time of the newest entry that was applied. They tell it from an entry with its number in an
    # older copy of the primary.
    Column("mark", Text),
    # On SQLite: the number up to which its own log was trimmed. A shadow that is behind it is an older copy.
    Column("trimmed", BigInteger),
)

# `k` has no declared type on SQLite so that an integer key stays an integer. NULL: the whole table
# (TRUNCATE). A key of several columns is a JSON array.
_LOG = {
    Side.SQLITE: (
        "CREATE TABLE IF NOT EXISTS st_change_log ("
        "seq INTEGER PRIMARY KEY AUTOINCREMENT, tbl TEXT NOT NULL, k, at REAL NOT NULL)",
    ),
    Side.POSTGRES: (
        "CREATE TABLE IF NOT EXISTS st_change_log ("
        "seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
        "xid xid8 NOT NULL DEFAULT pg_current_xact_id(), "
        'tbl text NOT NULL COLLATE "C", k text COLLATE "C", '
        "at double precision NOT NULL DEFAULT extract(epoch FROM clock_timestamp()))",
        "CREATE INDEX IF NOT EXISTS st_change_log_xid ON st_change_log (xid)",
    ),
}

pending = Table(
    "st_pending",
    both,
    Column("tbl", Text, primary_key=True),
    Column("k", Text, primary_key=True),
    Column("token", Text, nullable=False),  # the primary transaction that announced it
)

# Tables that the operator left out of the move: not compared, not captured, not copied.
excluded = Table("st_excluded", both, Column("tbl", Text, primary_key=True))
# The same for single columns of tables that take part.
excluded_column = Table(
    "st_excluded_column", both, Column("tbl", Text, primary_key=True), Column("col", Text, primary_key=True)
)

# What stood on PostgreSQL before `prepare` began, so that it can be left as it was found. It also says what
# the schema's source is, where that is not the Alembic chain.
found = Table(
    "st_found",
    arbiter,
    Column("name", Text, primary_key=True),
    Column("kind", Text, primary_key=True),  # table, view, type, sequence; rows, source
    Column(
        "columns", Text, nullable=False
    ),  # of a table, JSON: column, type, collation, default; or its rows
)

copy_range = Table(
    "st_copy_range",
    arbiter,
    Column("tbl", Text, primary_key=True),
    Column("n", Integer, primary_key=True),
    Column("after", Text),  # exclusive lower bound, JSON; NULL: from the start
    Column("upto", Text),  # inclusive upper bound, JSON; NULL: to the end
    Column("cursor", Text),  # last key copied, JSON
    Column("rows", BigInteger, nullable=False, server_default=text("0")),
    Column("expected", BigInteger, nullable=False, server_default=text("0")),
    Column("done", Boolean, nullable=False, server_default=text("false")),
)

# Indexes, unique constraints and foreign keys that stand only at certain times. `present` is advice, the
# catalog is the truth.
deferred_ddl = Table(
    "st_deferred_ddl",
    arbiter,
    Column("name", Text, primary_key=True),
    Column("tbl", Text, primary_key=True),
    Column("kind", Text, nullable=False),  # index, constraint, foreign_key
    Column("definition", Text, nullable=False),
    Column("orphans", BigInteger, nullable=False, server_default=text("0")),
    Column("traits", Text),  # JSON: comments and settings that no definition has
)

quarantine = Table(
    "st_quarantine",
    arbiter,
    Column("tbl", Text, nullable=False),
    Column("k", Text, nullable=False),
    Column("col", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("content", Text, nullable=False),  # JSON, every value with its storage class, bytes in hex
    Column("at", Double, nullable=False),
    Column("accepted_by", Text),
    Column("accepted_at", Double),
    # The side that holds the row. A pair of an earlier version has no such column, see `postgres.aside`.
    Column("side", Text, nullable=False, server_default=text("'sqlite'")),
)
# A pair of an earlier version has no marks, and goes without until `prepare` is repeated.
ADD_MARK = "ALTER TABLE st_watermark ADD COLUMN IF NOT EXISTS mark text"
ADD_TRAITS = "ALTER TABLE st_deferred_ddl ADD COLUMN IF NOT EXISTS traits text"
ADD_NUMBER = "ALTER TABLE st_spelling ADD COLUMN IF NOT EXISTS number integer"
ADD_SIDE = "ALTER TABLE st_quarantine ADD COLUMN IF NOT EXISTS side text NOT NULL DEFAULT 'sqlite'"

# How the application spells the values of a column on SQLite, see rows.spelling.
spelling = Table(
    "st_spelling",
    arbiter,
    Column("tbl", Text, primary_key=True),
    Column("col", Text, primary_key=True),
    Column("form", Text, nullable=False),
    Column("mixed", Boolean, nullable=False),
    Column("number", Integer),  # of the column in PostgreSQL's catalog, which no other name changes
)

# How fast copies and verifies may go that run: one row, which `st-migrate throttle` writes. A pair of an earlier
# version has no such table; the first limit makes it.
throttle = Table(
    "st_throttle",
    arbiter,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("copy_rate", BigInteger),  # rows per second of all processes that copy; NULL: as they were started
    Column("verify_rate", BigInteger),  # rows per second of each verify
)

verify_run = Table(
    "st_verify",
    arbiter,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("run", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("position", Text, nullable=False),  # the primary's log position when the run began
    Column("started_at", Double, nullable=False),
    Column("finished_at", Double),
    Column("tables", Text, nullable=False),  # JSON list: what was compared
    Column("rows", BigInteger, nullable=False),
    Column("mismatches", BigInteger, nullable=False),
)

verify_progress = Table(
    "st_verify_progress",
    arbiter,
    Column("tbl", Text, primary_key=True),
    Column("cursor", Text),
    Column("rows", BigInteger, nullable=False),
    Column("done", Boolean, nullable=False),
)

mismatch = Table(
    "st_mismatch",
    arbiter,
    Column("tbl", Text, nullable=False),
    Column("k", Text, nullable=False),
    Column("kind", Text, nullable=False),  # different, missing, extra
    Column("columns", Text, nullable=False),  # JSON list
    Column("found_at", Double, nullable=False),
)

history = Table(
    "st_history",
    arbiter,
    Column("id", BigInteger, primary_key=True),
    Column("at", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("evidence", Text, nullable=False),  # JSON
)

Index("st_history_at", history.c.at)
# A key may be longer than an ordered index takes, and such a row has to be set aside like any other. One applier at a
# time writes, so no key comes twice.
Index("st_quarantine_k", quarantine.c.k, postgresql_using="hash")
Index("st_mismatch_k", mismatch.c.k, postgresql_using="hash")
_LONG_KEYS = [
    f"ALTER TABLE {table.name} DROP CONSTRAINT IF EXISTS {table.name}_pkey"
    for table in (quarantine, mismatch)
]  # of a pair of an earlier version

_DIALECTS: dict[Side, Dialect] = {
    Side.SQLITE: URL.create("sqlite").get_dialect()(),
    Side.POSTGRES: URL.create("postgresql+psycopg").get_dialect()(),
}


def _create(table: Table, side: Side) -> str:
    return str(CreateTable(table, if_not_exists=True).compile(dialect=_DIALECTS[side]))


CREATE_THROTTLE = _create(throttle, Side.POSTGRES)
CREATE_WATERMARK = _create(watermark, Side.POSTGRES)
# On either side; a row that is there stays as it is.
BEGIN_WATERMARK = "INSERT INTO st_watermark (id, position, changes, applied_at) VALUES (1, '0', 0, 0) ON CONFLICT DO NOTHING"


def complete_watermark_sqlite(connection: sqlite3.Connection) -> bool:
    """Give SQLite's watermark what a pair of an earlier version lacks, or what somebody dropped.

    A watermark that is gone begins anew: what the log holds is applied once more, which is harmless. In the
    caller's write transaction.

    Returns:
        Whether it was gone.
    """
    connection.execute(_create(pending, Side.SQLITE))
    connection.execute(_create(watermark, Side.SQLITE))
    present = {name for _, name, *_ in connection.execute("PRAGMA table_info(st_watermark)")}
    for column in (watermark.c.mark, watermark.c.trimmed):
        if column.name not in present:
            connection.execute(f"ALTER TABLE st_watermark ADD COLUMN {column.name} {column.type}")
    return bool(connection.execute(BEGIN_WATERMARK).rowcount)


def create_statements(side: Side) -> list[str]:
    """The DDL that makes the bookkeeping tables of one side, each statement harmless to repeat."""
    metadatas = [both] if side is Side.SQLITE else [both, arbiter]
    statements = list(_LOG[side])
    for metadata in metadatas:
        for table in metadata.sorted_tables:
            statements.append(_create(table, side))
            statements += [
                str(CreateIndex(index, if_not_exists=True).compile(dialect=_DIALECTS[side]))
                for index in table.indexes
            ]
    if side is Side.POSTGRES:
        statements += [ADD_SIDE, ADD_MARK, ADD_TRAITS, ADD_NUMBER, *_LONG_KEYS]
    return statements


def names(side: Side) -> list[str]:
    """The bookkeeping tables of one side."""
    tables = list(both.tables) + (list(arbiter.tables) if side is Side.POSTGRES else [])
    return ["st_change_log", *tables]
