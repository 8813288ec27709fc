"""Runs the chain on one database, one runner at a time.

The database is, in this order: `-x url=...`, `sqlalchemy.url` set by a program, `ST_DATABASE_URL`. A program
may instead hand over a connection in `config.attributes["connection"]`; then all happens in its transaction.

PostgreSQL: each revision is a transaction of its own. A second connection holds a transaction-level lock
meanwhile, which also works through a pooler that changes servers between transactions.
SQLite: the whole run is one transaction that takes the write lock before it reads the version, so that a
second runner waits and then finds nothing to do.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from logging.config import fileConfig
from typing import Any

import sqlalchemy as sa
from alembic.util import CommandError
from sqlalchemy import event

import app.models  # noqa: F401 - fills Base.metadata
from alembic import context
from app.core.config import get_settings
from app.db import migrations
from app.db.base import Base
from app.db.urls import parse_url

# Any number will do; it only has to be the same for all runners on a database.
RUNNER_LOCK = 0x5354_4D49_4752
RUNNER_WAIT_SECONDS = 600

config = context.config


def database_url() -> sa.URL:
    """The database to migrate."""
    explicit = context.get_x_argument(as_dictionary=True).get("url") or config.get_main_option(
        "sqlalchemy.url"
    )
    return parse_url(explicit or get_settings().database_url, name="the database to migrate")


def postgres_engine(url: sa.URL) -> sa.Engine:
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


def sqlite_engine(url: sa.URL) -> sa.Engine:
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
def only_runner(engine: sa.Engine) -> Iterator[None]:
    """Hold the lock of runners on PostgreSQL, in a transaction that may stay idle."""
    with engine.begin() as holder:
        holder.exec_driver_sql(
            "SELECT set_config(name, '0', true) FROM pg_settings WHERE name IN"
            " ('statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout')"
        )
        holder.exec_driver_sql(f"SET LOCAL lock_timeout = '{RUNNER_WAIT_SECONDS}s'")
        holder.exec_driver_sql(f"SELECT pg_advisory_xact_lock({RUNNER_LOCK})")
        yield


def migrate(connection: sa.Connection, *, by_revision: bool) -> None:
    """Run what Alembic was asked for; `by_revision` commits after each revision instead of at the end."""
    sqlite = connection.dialect.name == "sqlite"
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        transactional_ddl=True,
        transaction_per_migration=by_revision,
        render_as_batch=sqlite,
        compare_type=sqlite,  # on PostgreSQL types are wider than declared on purpose
        include_object=is_application_object,
        on_version_apply=after_revision,
    )
    with context.begin_transaction():
        if not context.get_context().opts.get("dont_mutate"):
            migrations.before_upgrade(connection)
            if by_revision:
                connection.commit()
        context.run_migrations()


def after_revision(*, ctx: Any, **_: Any) -> None:
    """Alembic's call after each revision, within its transaction."""
    migrations.after_revision(ctx.connection)


def is_application_object(_: Any, name: str | None, kind: str, *__: Any) -> bool:
    """Leave out the bookkeeping tables, which no revision describes."""
    return not (kind == "table" and (name or "").startswith("st_"))


def run_on_url(url: sa.URL) -> None:
    """Migrate the database at a URL."""
    if url.get_backend_name() == "sqlite":
        with sqlite_engine(url).connect() as connection:
            migrate(connection, by_revision=False)
    else:
        engine = postgres_engine(url)
        with only_runner(engine), engine.connect() as connection:
            migrate(connection, by_revision=True)


def run_on_connection(connection: sa.Connection) -> None:
    """Migrate through a connection of the caller, within its transaction if it has begun one."""
    with nullcontext() if connection.in_transaction() else connection.begin():
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({RUNNER_LOCK})")
        migrate(connection, by_revision=False)


if context.is_offline_mode():
    raise CommandError("the revisions read the database, so they cannot be written out as a script")
if config.config_file_name and config.cmd_opts:
    fileConfig(config.config_file_name, disable_existing_loggers=False)
given = config.attributes.get("connection")
if given is None:
    run_on_url(database_url())
else:
    run_on_connection(given)
