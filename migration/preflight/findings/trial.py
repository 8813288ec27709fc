"""The chain, tried on PostgreSQL in a schema that is thrown away: what would fail, and what would come out.

Everything is one transaction that is rolled back, in a schema of its own. So nothing that stands in the
database is touched or locked. What the chain makes there is compared with the SQLite file before it goes.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg
import sqlalchemy as sa

from app.db.revisions.source import Failed
from app.db.rows.catalog import (
    Unfit,
    postgres_columns,
    postgres_partial_uniques,
    sqlite_columns,
    unfit_tables,
)


@dataclass(frozen=True)
class Tried:
    """What came of it; `skipped` says why nothing did."""

    failed: Failed | None = None
    skipped: str | None = None
    only_on_sqlite: tuple[str, ...] = ()
    only_on_postgres: tuple[str, ...] = ()
    columns: tuple[tuple[str, str, str], ...] = ()  # table, column, the side that has it
    not_partial: tuple[tuple[str, str], ...] = ()  # table, unique index that is partial on SQLite only
    unfit: tuple[Unfit, ...] = ()


class Source(Protocol):
    """The part of `SchemaSource` that a trial needs."""

    def try_tables(self, connection: sa.Connection) -> Failed | None:
        """Make the tables in the connection's schema. Returns what failed."""


def try_chain(source: Source, sqlite: sqlite3.Connection, url: sa.URL, excluded: Collection[str]) -> Tried:
    """Make the tables of a source in a schema of their own, compare, and throw all of it away."""
    schema = f"st_trial_{uuid.uuid4().hex}"
    # st-lint: allow engine-outside-seam - the chain is tried in a transaction that is always rolled back
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"prepare_threshold": None})
    with engine.connect() as connection, connection.begin() as transaction:
        try:
            if not connection.exec_driver_sql(
                "SELECT has_database_privilege(current_database(), 'CREATE')"
            ).scalar_one():
                return Tried(skipped="this role may make no schema to try the chain in")
            connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
            connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
            connection.exec_driver_sql(f"SET LOCAL search_path = {schema}")
            connection.exec_driver_sql("SET LOCAL timezone = 'UTC'")
            failed = source.try_tables(connection)
            if failed is not None:
                return Tried(failed=failed)
            raw = connection.connection.dbapi_connection
            assert isinstance(raw, psycopg.Connection)
            return _compared(sqlite, raw, excluded)
        except (AssertionError, NotImplementedError) as error:
            # A block outside of transactions, which a trial cannot undo.
            return Tried(skipped=f"a revision leaves its transaction ({type(error).__name__})")
        finally:
            transaction.rollback()


def _compared(sqlite: sqlite3.Connection, raw: psycopg.Connection[Any], excluded: Collection[str]) -> Tried:
    ours, theirs = sqlite_columns(sqlite), postgres_columns(raw)
    columns: list[tuple[str, str, str]] = []
    for table in sorted((ours.keys() & theirs.keys()) - set(excluded)):
        names = {column[0] for column in theirs[table]}
        columns += [(table, name, "SQLite") for name in ours[table] if name not in names]
        columns += [(table, name, "PostgreSQL") for name in sorted(names - ours[table].keys())]
    return Tried(
        only_on_sqlite=tuple(sorted(ours.keys() - theirs.keys() - set(excluded))),
        only_on_postgres=tuple(sorted(theirs.keys() - ours.keys() - set(excluded))),
        columns=tuple(columns),
        not_partial=tuple(postgres_partial_uniques(sqlite, raw)),
        unfit=tuple(unfit_tables(raw, ours)),
    )
