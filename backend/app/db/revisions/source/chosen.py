"""Which source a pair has: chosen once, by `prepare`, and kept in `st_found` for every later command."""

from __future__ import annotations

from typing import Any

import psycopg

from app.db.common.errors import ConfigurationError
from app.db.revisions.chain import has_chain
from app.db.revisions.source.chained import Alembic
from app.db.revisions.source.contract import SchemaSource
from app.db.revisions.source.existing import Existing

NAMES = (Alembic.name, Existing.name)
_RECORD = "SELECT name FROM st_found WHERE kind = 'source'"


def make_source(name: str | None = None) -> SchemaSource:
    """The source of a name, or the usual one: the chain where the application's package has one.

    Raises:
        ConfigurationError: there is no such source, or no chain.
    """
    name = name or (Alembic.name if has_chain() else Existing.name)
    if name not in NAMES:
        raise ConfigurationError(f"--schema is {name!r}", hint=f"it may be {' or '.join(NAMES)}")
    if name == Existing.name:
        return Existing()
    if not has_chain():
        raise ConfigurationError(
            "--schema alembic runs the Alembic chain of a backend that holds these files, and there is none",
            hint="have the application's own installer make the tables on PostgreSQL, and say --schema existing",
        )
    return Alembic()


def source_of(postgres: psycopg.Connection[Any]) -> SchemaSource:
    """The source that a prepared pair has on record; the usual one where the pair has none."""
    return make_source(recorded_source(postgres))


def recorded_source(postgres: psycopg.Connection[Any]) -> str | None:
    """The name on record. None where there is no pair or an earlier version prepared it."""
    if postgres.execute("SELECT to_regclass('st_found') IS NULL").fetchone() == (True,):
        return None
    row = postgres.execute(_RECORD).fetchone()
    return row[0] if row else None


def keep_source(postgres: psycopg.Connection[Any], source: SchemaSource) -> None:
    """Put the choice on record, in the caller's transaction."""
    postgres.execute(
        "INSERT INTO st_found (name, kind, columns) VALUES (%s, 'source', '[]') ON CONFLICT DO NOTHING",
        (source.name,),
    )
