"""Runs an Alembic chain on one database, one runner at a time, whatever the chain's own env.py does.

PostgreSQL: each revision is a transaction of its own. A second connection holds a transaction-level lock
meanwhile, which also works through a pooler that changes servers between transactions.
SQLite: the whole run is one transaction that takes the write lock before it reads the version, so that a
second runner waits and then finds nothing to do.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from sqlalchemy import event

# Any number will do; it only has to be the same for all runners on a database.
RUNNER_LOCK = 0x5354_4D49_4752
RUNNER_WAIT_SECONDS = 600


@dataclass(frozen=True)
class Hooks:
    """What runs on the migrating connection: before the first revision, and within each revision."""

    before_upgrade: Callable[[sa.Connection], None]
    after_revision: Callable[[sa.Connection], None]


def run_on_url(
    environment: EnvironmentContext, url: sa.URL, hooks: Hooks, metadata: sa.MetaData | None = None
) -> None:
    """Do what Alembic was asked for on the database at a URL.

    Raises:
        sqlalchemy.exc.DBAPIError: a statement failed; what the failing revision did is undone.
    """
    if url.get_backend_name() == "sqlite":
        with _sqlite_engine(url).connect() as connection:
            _migrate(environment, connection, hooks, metadata, by_revision=False)
    else:
        engine = _postgres_engine(url)
        with _only_runner(engine), engine.connect() as connection:
            _migrate(environment, connection, hooks, metadata, by_revision=True)


def run_on_connection(
    environment: EnvironmentContext,
    connection: sa.Connection,
    hooks: Hooks,
    metadata: sa.MetaData | None = None,
) -> None:
    """The same through a connection of the caller, within its transaction if it has begun one."""
    with nullcontext() if connection.in_transaction() else connection.begin():
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({RUNNER_LOCK})")
        _migrate(environment, connection, hooks, metadata, by_revision=False)


def _migrate(
    environment: EnvironmentContext,
    connection: sa.Connection,
    hooks: Hooks,
    metadata: sa.MetaData | None,
    *,
    by_revision: bool,
) -> None:
    """Run within a transaction for each revision, or else within one for all of them."""
    sqlite = connection.dialect.name == "sqlite"

    def on_version_apply(ctx: MigrationContext, step: Any, heads: Any, run_args: Any) -> None:
        hooks.after_revision(connection)

    environment.configure(
        connection=connection,
        target_metadata=metadata,
        transactional_ddl=True,
        transaction_per_migration=by_revision,
        render_as_batch=sqlite,
        compare_type=sqlite,  # on PostgreSQL types are wider than declared on purpose
        include_object=_is_application_object,
        on_version_apply=on_version_apply,
    )
    with environment.begin_transaction():
        if not environment.get_context().opts.get("dont_mutate"):
            hooks.before_upgrade(connection)
            if by_revision:
                connection.commit()
        environment.run_migrations()


def _is_application_object(_: Any, name: str | None, kind: str, *__: Any) -> bool:
    """Leave out the bookkeeping tables, which no revision describes."""
    return not (kind == "table" and (name or "").startswith("st_"))


def _postgres_engine(url: sa.URL) -> sa.Engine:
    """An engine whose transactions do not queue behind long ones, and whose time zone is UTC."""
    # Settings go by transaction and statements are never prepared by name: poolers support nothing else.
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"prepare_threshold": None})

    @event.listens_for(engine, "begin")
    def on_begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(
            "SELECT set_config('lock_timeout', '5s', true), set_config('statement_timeout', '1h', true),"
            " set_config('timezone', 'UTC', true)"
        )

    return engine


def _sqlite_engine(url: sa.URL) -> sa.Engine:
    """An engine whose transactions cover DDL and own the write lock from their start."""
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"timeout": RUNNER_WAIT_SECONDS})

    @event.listens_for(engine, "connect")
    def on_connect(connection: sqlite3.Connection, _: Any) -> None:
        # The driver's own transactions leave out DDL; with None there are only those begun below.
        connection.isolation_level = None
        # A table that is rebuilt is dropped once; with keys enforced that would delete its children.
        connection.execute("PRAGMA foreign_keys = OFF").close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


@contextmanager
def _only_runner(engine: sa.Engine) -> Iterator[None]:
    """Hold the lock of runners on PostgreSQL, in a transaction that may stay idle."""
    with engine.begin() as holder:
        holder.exec_driver_sql(
            "SELECT set_config(name, '0', true) FROM pg_settings WHERE name IN"
            " ('statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout')"
        )
        holder.exec_driver_sql(f"SET LOCAL lock_timeout = '{RUNNER_WAIT_SECONDS}s'")
        holder.exec_driver_sql(f"SELECT pg_advisory_xact_lock({RUNNER_LOCK})")
        yield
