"""Prepared pairs of the small chain, cloned from templates, with a writer and an applier that go on meanwhile."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
import threading
from pathlib import Path
from typing import Any

import psycopg
from alembic.config import Config

from app.db.apply.round import Applier
from app.db.common.errors import SwitchError
from app.db.common.urls import Side
from app.db.revisions.chain import upgrade_head
from app.db.revisions.source import Alembic
from app.db.rows.compare import Mismatch, compare_rows
from app.db.sides.capture.inventory import check_postgres_inventory
from migration.fill.prepare import prepare
from tests.support.pairs import TestPair, wait_until


def make_template(path: Path, url: str, config: Config, primary: Side) -> None:
    """A copied pair at the base, with some rows, PostgreSQL promoted if it is to be primary."""
    upgrade_head(f"sqlite:///{path}", "base_tables", config=config)
    pair = TestPair(path, url)
    try:
        pair.lite.executemany("INSERT INTO parents (code, n) VALUES (?, 0)", [(f"p{i}",) for i in range(20)])
        pair.lite.executemany(
            "INSERT INTO children (parent_id, text) VALUES (?, 'x')", [(i,) for i in range(1, 21)]
        )
        pair.lite.executemany("INSERT INTO doomed (v) VALUES (?)", [("a",), ("b",)])
        source = Alembic(config, "base_tables")
        prepare(pair.pair, pair.applier.stores, source, report=lambda line: None)
        pair.backfill()
        if primary is Side.POSTGRES:
            pair.moved(Side.POSTGRES)
            pair.drain()
        pair.lite.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        pair.close()


def clone(template: Path, path: Path) -> None:
    shutil.copy(template, path)


class Traffic:
    """A writer on the primary and an applier, each in a thread of its own, from start to stop."""

    def __init__(self, pair: TestPair, primary: Side) -> None:
        self._primary = primary
        self._stop = threading.Event()
        self._applier = pair.new_applier()
        self._connection = pair.new_lite(timeout=60) if primary is Side.SQLITE else pair.new_pg()
        self.writes = 0
        self.rounds = 0
        self.failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._write), threading.Thread(target=self._apply)]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        self.wait_for_more()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=60)
        assert not any(thread.is_alive() for thread in self._threads)

    def wait_for_more(self) -> None:
        """Until writer and applier have both done something since now."""
        writes, rounds = self.writes, self.rounds
        wait_until(lambda: (self.writes > writes + 5 and self.rounds > rounds) or self.failures)
        assert not self.failures, self.failures

    def _write(self) -> None:
        mark = "?" if self._primary is Side.SQLITE else "%s"
        try:
            for number in itertools.count(10):
                if self._stop.is_set():
                    return
                self._connection.execute(
                    f"UPDATE parents SET n = {mark} WHERE id = {mark}", (number, number % 20 + 1)
                )
                self._connection.execute(
                    f"INSERT INTO children (parent_id) VALUES ({mark})", (number % 20 + 1,)
                )
                self.writes += 1
        except BaseException as error:
            self.failures.append(error)

    def _apply(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    self._applier.round()
                    self.rounds += 1
                except (SwitchError, psycopg.OperationalError, sqlite3.OperationalError):
                    self._stop.wait(0.01)
        except BaseException as error:
            self.failures.append(error)


def settle(applier: Applier) -> None:
    """Apply until nothing is left."""
    wait_until(lambda: not applier.round().changes)


def mismatches(applier: Applier) -> list[Mismatch]:
    """Every key of every table at which the sides differ."""
    applier.forget_schema()
    found: list[Mismatch] = []
    for table in applier.schema().values():
        with applier.stores.sqlite.source() as ours, applier.stores.postgres.source() as theirs:
            sqlite_rows = [row for rows in ours.all_rows(table) for row in rows]
            postgres_rows = [row for rows in theirs.all_rows(table) for row in rows]
        found += compare_rows(table, sqlite_rows, postgres_rows)
    return found


def url_of(pair: TestPair, side: Side) -> str:
    return f"sqlite:///{pair.path}" if side is Side.SQLITE else pair.url


def versions(pair: TestPair) -> list[str]:
    return [pair.app(side).execute("SELECT version_num FROM alembic_version").fetchone()[0] for side in Side]


def verified(pair: TestPair) -> None:
    """Leave the traces of a clean verify."""
    pair.pg.execute(
        "INSERT INTO st_verify (id, run, epoch, position, started_at, finished_at, tables, rows, mismatches) "
        "VALUES (1, 'x', 1, '0', 0, 0, '[]', 0, 0)"
    )


def foreign_keys(pair: TestPair) -> set[str]:
    rows = pair.pg.execute("SELECT conname FROM pg_constraint WHERE contype = 'f'").fetchall()
    return {name for (name,) in rows}


def takes_writes(pair: TestPair, side: Side) -> bool:
    try:
        pair.app(side).execute("UPDATE parents SET n = n WHERE id = 1")
    except (sqlite3.OperationalError, psycopg.DatabaseError):
        return False
    return True


def assert_sound(pair: TestPair, primary: Side) -> None:
    """The sides are equal, captured, fenced as before; nothing of the migration is left behind."""
    settle(pair.applier)
    written = {side for side in Side if takes_writes(pair, side)}
    assert written == {primary}
    settle(pair.applier)
    assert mismatches(pair.applier) == []
    check_postgres_inventory(pair.pg, pair.applier.schema())
    for side in Side:
        assert pair.app(side).execute("SELECT count(*) FROM st_pending").fetchone() == (0,)
    assert pair.pg.execute("SELECT count(*) FROM st_quarantine").fetchone() == (0,)
    functions = pair.pg.execute(
        "SELECT count(*) FROM pg_proc WHERE proname LIKE 'st\\_capture\\_%'"
    ).fetchone()
    assert functions == (len(pair.applier.schema()),)
