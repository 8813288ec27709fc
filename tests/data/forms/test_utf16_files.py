"""A file whose texts are UTF-16: its text keys have another order, so they are refused, and the remedy helps."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from app.db.common.errors import Refused
from migration.verify.run import Verify
from tests.data.dirty.dirty_stage import Stage, staged

DDL = ["CREATE TABLE t (k text PRIMARY KEY, v text)", "CREATE TABLE n (id bigint PRIMARY KEY, v text)"]
# Beyond the first 65,536 letters UTF-16 begins with a smaller number than just before them.
ROWS = [(f"{chr(start + n)}{n}", "v") for start in (0x61, 0x100, 0xFF01, 0x1F600) for n in range(20)]


def fill(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def take_over(stage: Stage) -> None:
    stage.fill(chunk_rows=7)
    assert Verify(stage.applier, chunk_rows=7).run().clean


def test_text_keys_are_refused_until_the_file_is_made_anew(tmp_path: Path, pg_url: str) -> None:
    path = tmp_path / "dirty.db"
    fill(path, "PRAGMA encoding = 'UTF-16le'", "CREATE TABLE t (k TEXT NOT NULL PRIMARY KEY, v TEXT)")
    with staged(tmp_path, pg_url, ["CREATE TABLE n (id INTEGER PRIMARY KEY, v TEXT)"], DDL) as stage:
        stage.sqlite.executemany("INSERT INTO t VALUES (?, ?)", ROWS)
        with pytest.raises(Refused, match="the file stores texts as UTF-16le") as refusal:
            stage.prepare()
        assert ".dump" in refusal.value.hint
        dump = list(stage.sqlite.iterdump())
    path.unlink()
    fill(path, *dump[1:-1])
    with staged(tmp_path, pg_url, [], DDL) as stage:
        take_over(stage)
        assert stage.postgres.execute("SELECT count(*) FROM t").fetchone() == (len(ROWS),)


def test_a_file_without_text_keys_moves(tmp_path: Path, pg_url: str) -> None:
    fill(tmp_path / "dirty.db", "PRAGMA encoding = 'UTF-16be'", "CREATE TABLE z (a)", "DROP TABLE z")
    with staged(tmp_path, pg_url, ["CREATE TABLE n (id INTEGER PRIMARY KEY, v TEXT)"], DDL[1:]) as stage:
        stage.sqlite.executemany("INSERT INTO n VALUES (?, ?)", list(enumerate(key for key, _ in ROWS)))
        take_over(stage)
