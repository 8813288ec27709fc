"""A pair of databases for one test: the files, the connections an application would have, and the core."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from sqlalchemy import URL

from app.db.apply.outcome import Round
from app.db.apply.round import Applier
from app.db.common.settings import ShimSettings
from app.db.common.urls import Pair, Side, connect_arguments, make_pair, parse_url
from app.db.revisions.chain import alembic_config
from app.db.revisions.source import widen
from app.db.sides.stores import Stores
from app.db.switch.coordinator import Aborted, Coordinator, Moved
from app.db.switch.recover import Recovered, recover
from migration.fill.backfill import Backfill
from migration.fill.prepare import prepare
from tests.support.contents import Contents, difference, postgres_contents, sqlite_contents
from tests.support.shapes import POSTGRES_DDL, TABLES, write_sqlite

PAUSE_MS = 5_000  # generous: a busy machine must not abort a switch that a test wants to see done


def head_revision() -> str:
    """The revision that prepare expects on SQLite."""
    head = ScriptDirectory.from_config(alembic_config("sqlite://")).get_current_head()
    assert head
    return head


class PlainTables:
    """A schema's source in Alembic's place: plain DDL, run once, for a SQLite file that is made to fit.

    Args:
        ddl: what makes PostgreSQL's tables. probe: one of them, so that the DDL runs once; None: it runs each time.
    """

    name = "alembic"
    installed = False

    def __init__(self, ddl: str = POSTGRES_DDL, probe: str | None = "item") -> None:
        self._ddl = ddl
        self._probe = probe

    def require_ready(self, sqlite: sqlite3.Connection) -> None:
        pass

    def make_tables(self, postgres: URL) -> None:
        with connect(postgres.render_as_string(hide_password=False)) as connection, connection.transaction():
            if self._probe is None or not _exists(connection, self._probe):
                connection.execute(self._ddl.encode())
        widen(postgres)

    def try_tables(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql(self._ddl)

    def versions(self, sqlite: sqlite3.Connection, postgres: psycopg.Connection[Any]) -> tuple[str, str]:
        return "plain", "plain"


def _exists(connection: psycopg.Connection[Any], table: str) -> bool:
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (table,)).fetchone()
    return row == (True,)


def connect(url: str, **options: Any) -> psycopg.Connection[Any]:
    """An application's connection in autocommit mode, with nothing of the core on it."""
    arguments = connect_arguments(parse_url(url, name="test")) | options
    return psycopg.connect(autocommit=True, **arguments)


class TestPair:
    """Two databases and whatever a test opens on them.

    Args:
        path: the SQLite file. url: the PostgreSQL database.

    `lite` and `pg` are connections such as any stranger may have: autocommit, no pragma, no setting.
    """

    __test__ = False

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        self.url = url
        self._open: list[Any] = []
        self._applier: Applier | None = None
        self._lite: sqlite3.Connection | None = None
        self._pg: psycopg.Connection[Any] | None = None

    @property
    def pair(self) -> Pair:
        return make_pair(
            parse_url(f"sqlite:///{self.path}", name="sqlite"), parse_url(self.url, name="postgres")
        )

    @property
    def applier(self) -> Applier:
        if self._applier is None:
            self._applier = self.new_applier()
        return self._applier

    @property
    def lite(self) -> sqlite3.Connection:
        if self._lite is None:
            self._lite = self.new_lite()
        return self._lite

    @property
    def pg(self) -> psycopg.Connection[Any]:
        if self._pg is None or self._pg.closed:
            self._pg = self.new_pg()
        return self._pg

    def new_stores(self, **settings: Any) -> Stores:
        """Another process's connections to both sides."""
        stores = Stores.open(self.pair, ShimSettings(**settings))
        self._open.append(stores)
        return stores

    def new_applier(self, **settings: Any) -> Applier:
        return Applier(self.new_stores(**settings))

    def new_lite(self, **options: Any) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, **options)
        self._open.append(connection)
        return connection

    def new_pg(self, **options: Any) -> psycopg.Connection[Any]:
        connection = connect(self.url, **options)
        self._open.append(connection)
        return connection

    def app(self, side: Side) -> Any:
        """The stranger's connection to one side."""
        return self.lite if side is Side.SQLITE else self.pg

    def forget_pg(self) -> None:
        """The server was restarted: the stranger has to connect anew."""
        if self._pg is not None:
            self._pg.close()

    def close(self) -> None:
        for item in reversed(self._open):
            item.close()
        self._open.clear()
        self._applier = self._lite = self._pg = None

    # The protocol's steps.

    def prepare(self) -> None:
        prepare(self.pair, self.applier.stores, PlainTables(), report=lambda line: None)

    def backfill(self, chunk_rows: int = 20_000, applier: Applier | None = None) -> int:
        return Backfill(applier or self.applier, chunk_rows=chunk_rows).run()

    def move(
        self, to: Side, *, max_pause_ms: int = PAUSE_MS, applier: Applier | None = None
    ) -> Moved | Aborted:
        return Coordinator(applier or self.applier, max_pause_ms=max_pause_ms).move(to)

    def moved(self, to: Side) -> Moved:
        outcome = self.move(to)
        assert isinstance(outcome, Moved), outcome
        return outcome

    def recover(self, stores: Stores | None = None) -> Recovered:
        return recover(stores or self.applier.stores)

    def expire_attempt(self) -> None:
        """Let the deadline of a dead coordinator's attempt pass, on both records."""
        with contextlib.suppress(psycopg.OperationalError):
            self.pg.execute("UPDATE st_control SET attempt_deadline = 0 WHERE attempt IS NOT NULL")
        self.lite.execute("UPDATE st_control SET attempt_deadline = 0 WHERE attempt IS NOT NULL")

    def drain(self) -> Round:
        outcome = self.applier.round()
        assert isinstance(outcome, Round), outcome
        return outcome

    # What is so now.

    def contents(self, side: Side) -> Contents:
        return sqlite_contents(self.lite) if side is Side.SQLITE else postgres_contents(self.pg)

    def assert_same(self) -> None:
        """Both sides hold the same rows, and none had to be set aside for it."""
        assert self.pg.execute("SELECT tbl, k, reason FROM st_quarantine").fetchall() == []
        assert difference(self.contents(Side.SQLITE), self.contents(Side.POSTGRES)) == {}

    def writable_sides(self) -> set[Side]:
        """The sides that take an application's write, found out by writing."""
        return {side for side in Side if self._takes_writes(side)}

    def _takes_writes(self, side: Side) -> bool:
        connection = self.app(side)
        connection.execute("BEGIN")
        try:
            connection.execute("INSERT INTO counter (id, n) VALUES (-99999, 0)")
        except (sqlite3.OperationalError, psycopg.OperationalError):
            return False
        finally:
            connection.execute("ROLLBACK")
        return True

    def epochs(self) -> tuple[int, int]:
        return tuple(self.app(side).execute("SELECT epoch FROM st_control").fetchone()[0] for side in Side)

    def log_size(self, side: Side) -> int:
        return int(self.app(side).execute("SELECT count(*) FROM st_change_log").fetchone()[0])

    def logged(self, side: Side, table: str) -> set[Any]:
        """The keys logged for a table, as tuples of plain values; (None,) is the whole table."""
        mark = "?" if side is Side.SQLITE else "%s"
        rows = self.app(side).execute(f"SELECT k FROM st_change_log WHERE tbl = {mark}", (table,)).fetchall()
        return {_plain_key(table, key) for (key,) in rows}

    def clear_log(self, side: Side) -> None:
        self.app(side).execute("DELETE FROM st_change_log")


def _plain_key(table: str, key: Any) -> Any:
    if key is None:
        return (None,)
    names = TABLES[table][0]
    if len(names) > 1:
        return tuple(json.loads(key))
    if table == "token":
        return (UUID(key),)
    return (key,) if table in ("code", "plain") else (int(key),)


def new_sqlite(path: Path, *, seed: bool = True) -> None:
    """A SQLite file as the application leaves it: tables and rows, nothing of ours."""
    connection = sqlite3.connect(path)
    write_sqlite(connection, head_revision(), seed=seed)
    connection.close()


def wait_until(condition: Any, *, seconds: float = 20.0) -> None:
    """Wait for a condition, with a deadline.

    Raises:
        TimeoutError: it did not come true.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the condition did not come true")
        time.sleep(0.002)
