"""Keys that SQLite logs and PostgreSQL cannot hold, or that SQLite itself changes: each row is found under its own key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.db.common.urls import Side
from app.db.sides.sqlite.connection import stream
from app.db.sides.sqlite.source import SqliteSource
from migration.verify.run import Verify
from tests.data.dirty.dirty_stage import move, staged


def test_a_switch_compares_a_changed_row_whose_key_is_no_utf8(tmp_path: Path, pg_url: str) -> None:
    tables = ["CREATE TABLE t (k TEXT PRIMARY KEY, v TEXT)"], ["CREATE TABLE t (k text PRIMARY KEY, v text)"]
    with staged(tmp_path, pg_url, *tables) as stage:
        stage.fill()
        stage.write(
            "INSERT INTO t VALUES (CAST(x'ff41' AS TEXT), 'x'), ('ok', 'y')",
            "UPDATE t SET v = 'z' WHERE k = CAST(x'ff41' AS TEXT)",
        )
        stage.round()
        stage.postgres.execute("UPDATE st_quarantine SET accepted_by = 'me', accepted_at = 1")
        table = stage.applier.schema()["t"]
        ((raw,),) = [
            row for rows in stream(stage.sqlite, "SELECT k FROM t WHERE v = 'z'", ()) for row in rows
        ]
        assert SqliteSource(stage.sqlite).rows_of(table, [raw, "ok"]) == [(raw, "z"), ("ok", "y")]
        move(stage, Side.POSTGRES)
        assert stage.postgres.execute("SELECT k, v FROM t").fetchall() == [("ok", "y")]
        assert stage.sqlite.execute("SELECT count(*) FROM t").fetchone() == (2,)


@pytest.mark.parametrize(
    ("declared", "kind", "odd"),
    [("BOOLEAN", "boolean", 5.5), ("BOOLEAN", "boolean", 1e300), ("TEXT", "bigint", "9" * 19)],
)
def test_a_switch_compares_a_changed_row_whose_key_has_no_form(
    tmp_path: Path, pg_url: str, declared: str, kind: str, odd: Any
) -> None:
    """It is looked for as it is on SQLite, and neither as the number that is near nor as one that SQLite cannot take."""
    tables = (
        [f"CREATE TABLE t (k {declared} NOT NULL PRIMARY KEY, v TEXT)"],
        [f"CREATE TABLE t (k {kind} PRIMARY KEY, v text)"],
    )
    with staged(tmp_path, pg_url, *tables) as stage:
        stage.fill()
        stage.sqlite.execute("INSERT INTO t VALUES (?, 'x'), ('1', 'y')", (odd,))
        stage.sqlite.execute("UPDATE t SET v = 'z' WHERE k = ?", (odd,))
        stage.round()
        table = stage.applier.schema()["t"]
        assert SqliteSource(stage.sqlite).rows_of(table, [odd]) == [(odd, "z")]
        stage.postgres.execute("UPDATE st_quarantine SET accepted_by = 'me', accepted_at = 1")
        move(stage, Side.POSTGRES)
        assert stage.sqlite.execute("SELECT count(*) FROM t").fetchone() == (2,)


@pytest.mark.parametrize("rule", ["NO ACTION", "CASCADE", "SET NULL"])
@pytest.mark.parametrize("affinity", ["DATE", "INTEGER", "REAL"])
def test_a_key_is_logged_as_it_was_whoever_refers_to_it(
    tmp_path: Path, pg_url: str, rule: str, affinity: str
) -> None:
    """SQLite looks for a deleted key in the index of a numeric column, and makes a number of the key for that."""
    ours = [
        "CREATE TABLE p (id INTEGER PRIMARY KEY)",
        "CREATE TABLE t (k TEXT PRIMARY KEY, p INTEGER REFERENCES p ON DELETE CASCADE)",
        f"CREATE TABLE c (id INTEGER PRIMARY KEY, k {affinity} REFERENCES t ON DELETE {rule} ON UPDATE {rule})",
        "CREATE INDEX c_k ON c (k)",
    ]
    theirs = [
        "CREATE TABLE p (id bigint PRIMARY KEY)",
        "CREATE TABLE t (k text PRIMARY KEY, p bigint)",
        "CREATE TABLE c (id bigint PRIMARY KEY, k text)",
    ]
    with staged(tmp_path, pg_url, ours, theirs) as stage:
        stage.write(
            "INSERT INTO p VALUES (1)",
            "INSERT INTO t VALUES ('007', 1), ('1e5', NULL), ('2', NULL), ('8', NULL), ('x', 1)",
        )
        stage.fill()
        stage.write(
            "PRAGMA foreign_keys = ON",
            "DELETE FROM p",
            "DELETE FROM t WHERE k = '1e5'",
            "UPDATE t SET k = '005' WHERE k = '2'",
        )
        stage.round()
        assert stage.postgres.execute("SELECT k FROM t ORDER BY k").fetchall() == [("005",), ("8",)]
        assert Verify(stage.applier).run().clean


@pytest.mark.parametrize("chunk_rows", [1, 10_000])
def test_each_row_in_quarantine_is_counted_once(tmp_path: Path, pg_url: str, chunk_rows: int) -> None:
    """Bookkeeping's name of a key that is no UTF-8 could be the key of another row, which is looked for."""
    tables = (
        ["CREATE TABLE t (k DATETIME NOT NULL, name TEXT NOT NULL, PRIMARY KEY (k, name))"],
        ["CREATE TABLE t (k timestamp, name text, PRIMARY KEY (k, name))"],
    )
    with staged(tmp_path, pg_url, *tables) as stage:
        stage.write(
            "INSERT INTO t VALUES ('2026-01-01 00:00:00', CAST(x'ff41' AS TEXT)), ('no time', 'a')",
            "INSERT INTO t VALUES ('2026-01-01 00:00:00', 'b'), ('2026-01-02 00:00:00', 'c')",
        )
        stage.fill()
        found = Verify(stage.applier, chunk_rows=chunk_rows).run()
        assert (found.clean, found.rows, found.set_aside) == (True, 2, 2)
