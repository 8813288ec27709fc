"""Unique keys for which SQLite does not compare bytes: NOCASE and RTRIM mean the same on PostgreSQL, both ways."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import errors as pg_errors

from app.db.common.urls import Side
from app.db.rows.catalog import Column, Table
from app.db.rows.kinds import Kind
from app.db.sides.postgres.folds import folded_uniques, has_counterpart, texts_of
from migration.fill.before import origin
from migration.preflight.findings.compared import installed_findings
from migration.preflight.findings.shapes import read_shapes
from migration.verify.run import Verify
from tests.data.dirty.dirty_stage import Stage, move, staged
from tests.support.pairs import connect

SQLITE = [
    "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, realm TEXT COLLATE NOCASE, pad TEXT, UNIQUE (realm, pad))",
    "CREATE UNIQUE INDEX one_name ON t (name COLLATE NOCASE)",
    "CREATE UNIQUE INDEX one_pad ON t (pad COLLATE RTRIM)",
]
POSTGRES = ["CREATE TABLE t (id bigint PRIMARY KEY, name text, realm text, pad text)"]


@pytest.fixture
def stage(tmp_path: Path, pg_url: str) -> Iterator[Stage]:
    with staged(tmp_path, pg_url, SQLITE, POSTGRES) as made:
        made.write("INSERT INTO t VALUES (1, 'Bob', 'x', 'p'), (2, 'Ä', 'y', 'q'), (3, 'ä', 'X', ' q')")
        yield made


def test_a_row_that_replace_removes_under_another_spelling_is_captured(stage: Stage) -> None:
    stage.fill()
    stage.write("INSERT OR REPLACE INTO t VALUES (9, 'bOB', 'z', 'r')")
    stage.write("INSERT OR REPLACE INTO t VALUES (10, 'new', 'z', 'q  ')")
    stage.write("UPDATE OR REPLACE t SET name = 'NEW' WHERE id = 3")
    assert stage.round().refused == 0
    assert stage.mismatches("t") == []
    assert stage.on_postgres("t").keys() == {9, 3}


def test_both_sides_call_the_same_rows_equal_there_and_back(stage: Stage) -> None:
    stage.fill()
    move(stage, Side.POSTGRES)
    with connect(stage.pair.postgres.render_as_string(hide_password=False)) as postgres:
        for taken in ("(4, 'BOB', 'a', 'a')", "(4, 'c', 'Y', 'q')", "(4, 'c', 'c', 'p  ')"):
            with pytest.raises(pg_errors.UniqueViolation):
                postgres.execute(f"INSERT INTO t VALUES {taken}".encode())
        postgres.execute(
            "INSERT INTO t VALUES (4, 'ß', 'c', 's'), (5, 'SS', 'd', 't'), (6, 'BÖB', 'e', 'u'), (7, 'böb', 'f', 'v')"
        )
    assert stage.round().refused == 0
    assert Verify(stage.applier).run().clean
    move(stage, Side.SQLITE)
    with pytest.raises(sqlite3.IntegrityError, match=r"t\.name"):
        stage.write("INSERT INTO t VALUES (11, 'ss', 'g', 'w')")
    stage.write("INSERT INTO t VALUES (11, 'Bö', 'g', 'w')")
    assert stage.round().refused == 0
    assert stage.mismatches("t") == []


def test_what_was_found_is_left_without_our_index(tmp_path: Path, pg_url: str) -> None:
    with connect(pg_url) as postgres:
        postgres.execute(POSTGRES[0].encode())
        with staged(tmp_path, pg_url, SQLITE, ["SELECT 1"]) as stage:
            stage.prepare()
            assert len(indexes(stage.applier.stores.postgres.connection)) == 1, (
                "they are built at the end of the copy"
            )
            stage.applier.stores.close()
            with postgres.transaction():
                origin.restore(postgres)
            assert indexes(postgres) == ["t_pkey"]


def indexes(postgres: psycopg.Connection[tuple[str]]) -> list[str]:
    query = "SELECT indexname FROM pg_indexes WHERE tablename = 't' ORDER BY 1"
    return [name for (name,) in postgres.execute(query).fetchall()]


# Of the column c on PostgreSQL: its type, an index over it, and whether that means NOCASE.
COUNTERPARTS = [
    ("text", 'lower(c COLLATE "C")', True),
    ('text COLLATE "C"', "lower(c)", True),
    ('text COLLATE "C"', "upper(c)", True),
    ("text", "translate(c, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz')", True),
    ('text COLLATE "C"', "c", False),
    ("text COLLATE pg_c_utf8", "lower(c)", False),
    ("text", "lower(trim(c) COLLATE \"C\")", False),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "part", "same"), COUNTERPARTS)
def test_an_index_of_the_application_is_judged_by_what_it_calls_equal(
    pg_url: str, kind: str, part: str, same: bool
) -> None:
    sqlite = sqlite3.connect(":memory:")
    sqlite.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, c TEXT UNIQUE COLLATE NOCASE)")
    column = Column("c", Kind.TEXT, "text", True)
    table = Table("t", (column,), ())
    (index,) = folded_uniques(sqlite, "t", texts_of(table))
    with connect(pg_url) as postgres:
        postgres.execute(f"CREATE TABLE t (id bigint PRIMARY KEY, c {kind})".encode())
        postgres.execute(f"CREATE UNIQUE INDEX there ON t ({part})".encode())
        assert has_counterpart(postgres, index) is same
        shapes = read_shapes(sqlite, postgres, sa.MetaData())
        told = [
            item
            for item in installed_findings(sqlite, postgres, shapes)
            if "c_fold" in item.remedy or "lower(" in item.remedy
        ]
        assert bool(told) is not same
        if told:  # the remedy's statement opens it
            postgres.execute(told[0].remedy.partition(": ")[2].encode())
            assert has_counterpart(postgres, index)
    sqlite.close()


def test_a_column_that_an_index_only_includes_is_no_part_of_what_is_unique(pg_url: str) -> None:
    sqlite = sqlite3.connect(":memory:")
    sqlite.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, c TEXT UNIQUE, d TEXT)")
    with connect(pg_url) as postgres:
        postgres.execute('CREATE TABLE t (id bigint PRIMARY KEY, c text COLLATE "C", d text COLLATE "C")')
        postgres.execute("CREATE UNIQUE INDEX there ON t (c) INCLUDE (d)")
        shapes = read_shapes(sqlite, postgres, sa.MetaData())
        assert list(installed_findings(sqlite, postgres, shapes)) == []
    sqlite.close()


ONLY_THERE = [
    ("c) NULLS NOT DISTINCT --", "row.duplicate", ("1 = 2",)),
    ("e", "row.duplicate", ("1 = 2",)),  # a citext; unique on SQLite, too
    ("d) WHERE c IS NULL --", "schema.unique", ()),
    ("lower(c)", "schema.unique", ()),
    ("c", "schema.unique", ()),
]


@pytest.mark.parametrize(("part", "code", "keys"), ONLY_THERE, ids=[row[0] for row in ONLY_THERE])
def test_what_only_postgresql_takes_for_equal_is_said(
    pg_url: str, part: str, code: str, keys: tuple[str, ...]
) -> None:
    sqlite = sqlite3.connect(":memory:")
    sqlite.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, c TEXT, d TEXT, e TEXT)")
    sqlite.execute("CREATE UNIQUE INDEX te ON t (e)")
    sqlite.execute("INSERT INTO t VALUES (1, NULL, 'd', 'E'), (2, NULL, 'd', 'e'), (3, 'x', 'd', NULL)")
    with connect(pg_url) as postgres:
        postgres.execute("CREATE EXTENSION citext")
        postgres.execute("CREATE TABLE t (id bigint PRIMARY KEY, c text, d text, e citext)")
        postgres.execute(f"CREATE UNIQUE INDEX there ON t ({part})".replace("--)", "").encode())
        found = list(installed_findings(sqlite, postgres, read_shapes(sqlite, postgres, sa.MetaData())))
        told = [(item.code, item.keys) for item in found if "there" in item.reason]
        assert told == [(code, keys)]
    sqlite.close()
