"""Runs an Alembic chain on one database, one runner at a time, whatever the chain's own env.py does.

PostgreSQL: each revision is a transaction of its own, unless the hooks ask for one transaction. A second
connection holds a transaction-level lock meanwhile, which also works through a pooler that changes servers
between transactions.
SQLite: the whole run is one transaction, which takes the write lock before it reads the version. So a second
runner waits and then finds nothing to do.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event

from app.db.common.errors import Refused
from app.db.common.urls import Side, side_of
from app.db.revisions.blocks import Watch
from app.db.revisions.ddl import ensure_version_table, normalise_postgres
from app.db.rows.catalog import BOOKKEEPING
from app.db.sides.locks import TAKE_RUNNER_LOCK
from app.db.sides.sqlite.turn import turn_at

if TYPE_CHECKING:
    from alembic.runtime.environment import EnvironmentContext
    from alembic.runtime.migration import MigrationContext

RUNNER_WAIT_SECONDS = 600


class Hooks:
    """What runs on the migrating connection around the revisions. These are for a database that is alone.

    `one_transaction` asks for one transaction on PostgreSQL too. `settings` hold in each of PostgreSQL's
    transactions. `watched`: the database is one of a pair, and revisions may leave their transaction in one
    way only.
    """

    one_transaction = False
    watched = False
    settings: Mapping[str, str] = MappingProxyType({})

    def before_upgrade(self, connection: sa.Connection) -> None:
        """Runs in any case: the version table, and columns made by an earlier chain."""
        ensure_version_table(connection)
        normalise_postgres(connection)

    def before_steps(self, connection: sa.Connection) -> None:
        """Runs if there is anything to do, before it is done."""

    def after_revision(self, connection: sa.Connection) -> None:
        """Runs within the transaction of each revision: what it made accepts what SQLite accepts."""
        normalise_postgres(connection)

    def after_steps(self, connection: sa.Connection) -> None:
        """Runs if anything was done, before the commit where there is one transaction."""

    def before_block(self, connection: sa.Connection) -> None:
        """Runs where a revision's autocommit block ends the transaction, within that transaction."""

    def after_block(self, connection: sa.Connection) -> None:
        """Runs in the transaction that follows the block."""


class Run:
    """What Alembic was asked for; it can be done on several databases in turn.

    Args:
        environment: Alembic's, with what to do.
        metadata: of the models, for commands that compare.
    """

    def __init__(self, environment: EnvironmentContext, metadata: sa.MetaData | None = None) -> None:
        self._environment = environment
        self._metadata = metadata
        environment.configure(dialect_name="sqlite")
        options = environment.get_context().opts
        self._plan = options["fn"]
        self.only_reads = bool(options.get("dont_mutate") or options.get("revision_context"))

    def steps(self, url: sa.URL) -> list[Any]:
        """What is to be done on a database, as Alembic's steps."""
        if side_of(url) is Side.SQLITE:
            engine = sa.create_engine(url, poolclass=sa.NullPool)
        else:
            engine = _postgres_engine(url)
        with engine.connect() as connection:
            self._environment.configure(connection=connection)
            context = self._environment.get_context()
            return list(self._plan(context.get_current_heads(), context))

    def on_url(self, url: sa.URL, hooks: Hooks) -> None:
        """Run the steps on the database at a URL. The caller keeps other runners off PostgreSQL.

        Raises:
            sqlalchemy.exc.DBAPIError: a statement failed; what the failing revision did is undone.
        """
        sqlite = side_of(url) is Side.SQLITE
        engine = _sqlite_engine(url) if sqlite else _postgres_engine(url, hooks.settings)
        with engine.connect() as connection:
            self._migrate(connection, hooks, by_revision=not sqlite and not hooks.one_transaction)

    def on_connection(self, connection: sa.Connection) -> None:
        """Do it through a connection of the caller, within its transaction if it has begun one.

        Raises:
            Refused: the database is one of a prepared pair, which takes two connections.
        """
        with nullcontext() if connection.in_transaction() else connection.begin():
            if sa.inspect(connection).has_table("st_control"):
                raise Refused(
                    "the schema of a prepared pair cannot change through a single connection",
                    hint="migrate by URL, with ST_DATABASE_URL and ST_SHADOW_DATABASE_URL set",
                )
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(TAKE_RUNNER_LOCK)
            self._migrate(connection, Hooks(), by_revision=False)

    def _migrate(self, connection: sa.Connection, hooks: Hooks, *, by_revision: bool) -> None:
        """Run within a transaction for each revision, or else within one for all of them."""
        environment = self._environment
        sqlite = connection.dialect.name == "sqlite"
        planned: list[Any] = []
        watch: Watch | None = None

        def plan(heads: Any, context: MigrationContext) -> list[Any]:
            nonlocal watch
            planned.extend(self._plan(heads, context))
            if planned:
                hooks.before_steps(connection)
                if hooks.watched:
                    watch = Watch(connection, context, hooks)
                    for step in planned:
                        step.migration_fn = watch.revision(step.migration_fn)
            return planned

        def on_version_apply(ctx: MigrationContext, step: Any, heads: Any, run_args: Any) -> None:
            hooks.after_revision(connection)
            if watch is not None and hooks.one_transaction:
                watch.between_revisions()

        environment.configure(
            connection=connection,
            target_metadata=self._metadata,
            transactional_ddl=True,
            transaction_per_migration=by_revision,
            render_as_batch=sqlite,
            compare_type=sqlite,  # on PostgreSQL types are wider than declared on purpose
            include_object=_is_application_object,
            on_version_apply=on_version_apply,
            fn=plan,
        )
        with environment.begin_transaction():
            if not environment.get_context().opts.get("dont_mutate"):
                hooks.before_upgrade(connection)
                if by_revision:
                    connection.commit()
            environment.run_migrations()
            if planned:
                hooks.after_steps(connection)


def _is_application_object(_: Any, name: str | None, kind: str, *__: Any) -> bool:
    """Leave out the bookkeeping tables, which no revision describes."""
    return not (kind == "table" and (name or "") in BOOKKEEPING)


def _postgres_engine(url: sa.URL, settings: Mapping[str, str] | None = None) -> sa.Engine:
    """An engine whose transactions do not queue behind long ones, and whose time zone is UTC."""
    # Settings go by transaction and statements are never prepared by name: poolers support nothing else.
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"prepare_threshold": None})
    values = {"lock_timeout": "5s", "statement_timeout": "1h", "timezone": "UTC", **(settings or {})}

    @event.listens_for(engine, "begin")
    def on_begin(connection: sa.Connection) -> None:
        for name, value in values.items():
            connection.exec_driver_sql("SELECT set_config(%s, %s, true)", (name, value))

    return engine


def _sqlite_engine(url: sa.URL) -> sa.Engine:
    """An engine whose transactions cover DDL and own the write lock from their start."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)

    @event.listens_for(engine, "connect")
    def on_connect(connection: sqlite3.Connection, _: Any) -> None:
        # The driver's own transactions leave out DDL; with None there are only those begun below.
        connection.isolation_level = None
        # A table that is rebuilt is dropped once; with keys enforced that would delete its children.
        connection.execute("PRAGMA foreign_keys = OFF").close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: sa.Connection) -> None:
        raw = connection.connection.dbapi_connection
        assert isinstance(raw, sqlite3.Connection)
        turn_at(Path(url.database or "")).begin(raw, RUNNER_WAIT_SECONDS * 1000)

    return engine


@contextmanager
def only_runner(url: sa.URL) -> Iterator[None]:
    """Hold the lock of runners: on PostgreSQL in a transaction that may stay idle, on SQLite nothing."""
    if side_of(url) is Side.SQLITE:
        yield
        return
    with _postgres_engine(url).begin() as holder:
        holder.exec_driver_sql(
            "SELECT set_config(name, '0', true) FROM pg_settings WHERE name IN"
            " ('statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout')"
        )
        holder.exec_driver_sql(f"SET LOCAL lock_timeout = '{RUNNER_WAIT_SECONDS}s'")
        holder.exec_driver_sql(TAKE_RUNNER_LOCK)
        yield
