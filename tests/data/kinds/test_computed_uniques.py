"""Unique keys over expressions and under conditions: what REPLACE removes by them is captured, and they stand on both sides."""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from psycopg import errors as pg_errors

from app.db.common.errors import Refused
from app.db.common.urls import Side
from app.db.rows.catalog import parts_and_condition
from migration.verify.run import Verify
from tests.data.dirty.dirty_stage import Stage, move, staged
from tests.support.pairs import connect

INDEXES = [
    "CREATE UNIQUE INDEX one_mail ON t (lower(mail))",
    "CREATE UNIQUE INDEX one_code ON t (coalesce(owner, 0), (substr(code, 1, 1) || '),') DESC) WHERE gone = 0 OR owner = 1",
    "CREATE UNIQUE INDEX one_rank ON t (rank) WHERE gone = 0",
]
COLUMNS = "mail TEXT, owner INTEGER, code TEXT, rank INTEGER, gone INTEGER NOT NULL DEFAULT 0"
SQLITE = [f"CREATE TABLE t (id INTEGER PRIMARY KEY, {COLUMNS})", *INDEXES]
POSTGRES = [f"CREATE TABLE t (id bigint PRIMARY KEY, {COLUMNS.replace('INTEGER', 'bigint')})", *INDEXES]


@pytest.fixture
def stage(tmp_path: Path, pg_url: str) -> Iterator[Stage]:
    with staged(tmp_path, pg_url, SQLITE, POSTGRES) as made:
        made.write("INSERT INTO t VALUES (1, 'Ann', 1, 'ab', 1, 0), (2, 'Bob', 2, 'ab', 2, 0)")
        yield made


def a_row(rng: random.Random) -> str:
    mail = rng.choice(["NULL", "'ann'", "'ANN'", "'bob'", "'Eve'", "'eVE'", "''"])
    owner, code, rank = (
        rng.choice(["NULL", "0", "1", "2"]),
        rng.choice(["NULL", "'ab'", "'ac'", "'b'"]),
        rng.choice(["NULL", "1", "2", "3"]),
    )
    return f"{mail}, {owner}, {code}, {rank}, {rng.choice('001')}"


def written(rng: random.Random) -> str:
    """A statement of an application that replaces what stands in its way, or fails."""
    names = [part.split()[0] for part in COLUMNS.split(", ")]
    values = dict(zip(names, a_row(rng).split(", "), strict=True))
    name = rng.choice(names)
    return rng.choice(
        [
            f"INSERT OR REPLACE INTO t VALUES ({rng.randint(1, 9)}, {a_row(rng)})",
            f"UPDATE OR REPLACE t SET {name} = {values[name]} WHERE id = {rng.randint(1, 9)}",
            f"INSERT INTO t VALUES ({rng.randint(1, 9)}, {a_row(rng)}) ON CONFLICT (lower(mail)) DO UPDATE SET gone = 1 - gone",
            f"UPDATE t SET {name} = {values[name]} WHERE id = {rng.randint(1, 9)}",
        ]
    )


def test_every_row_that_replace_removes_is_captured(stage: Stage) -> None:
    stage.write("INSERT INTO t (id, rank, gone) VALUES (50, 9, 0), (51, 9, 1)")
    stage.fill()
    stage.write("UPDATE OR REPLACE t SET gone = 0 WHERE id = 51")  # comes under the condition of one_rank
    assert stage.round().refused == 0
    assert stage.mismatches("t") == []
    rng = random.Random(12)
    for _ in range(25):
        for _ in range(rng.randint(1, 8)):
            with suppress(sqlite3.IntegrityError):
                stage.write(written(rng))
        assert stage.round().refused == 0
        assert stage.mismatches("t") == []


def test_values_that_change_hands_arrive_in_both_directions(stage: Stage) -> None:
    """The index stands while apply writes: rows of one round may take each other's places under it."""
    stage.fill()
    swap = "UPDATE t SET mail = CASE id WHEN 1 THEN 'BOB' ELSE 'ANN' END WHERE id IN (1, 2)"
    stage.write("UPDATE t SET mail = NULL WHERE id = 1", "UPDATE t SET mail = 'ANN' WHERE id = 2", swap)
    assert stage.round().refused == 0
    assert stage.mismatches("t") == []
    move(stage, Side.POSTGRES)
    with connect(stage.pair.postgres.render_as_string(hide_password=False)) as postgres:
        with pytest.raises(pg_errors.UniqueViolation):
            postgres.execute("INSERT INTO t VALUES (3, 'aNN', 3, 'x', 3, 0)")
        for mail in ("NULL", "'ann'", "'bob'"):
            row = 1 if mail == "'ann'" else 2
            postgres.execute(f"UPDATE t SET mail = {mail} WHERE id = {row}".encode())
    assert stage.round().refused == 0
    assert Verify(stage.applier).run().clean
    move(stage, Side.SQLITE)
    assert stage.sqlite.execute("SELECT mail FROM t ORDER BY id").fetchall() == [("ann",), ("bob",)]
    with pytest.raises(sqlite3.IntegrityError, match="one_mail"):
        stage.write("INSERT INTO t VALUES (9, 'Ann', 9, 'z', 9, 0)")


def test_a_row_that_only_postgresql_calls_equal_is_set_aside(tmp_path: Path, pg_url: str) -> None:
    """SQLite's lower knows 26 letters; with a collation that knows more, PostgreSQL's does not agree."""
    folding = [item.replace("lower(mail)", "replace(lower(mail), 'Ä', 'ä')") for item in POSTGRES]
    with staged(tmp_path, pg_url, SQLITE, folding) as stage:
        stage.fill()
        stage.write("INSERT INTO t (id, mail) VALUES (5, 'Ä'), (6, 'ä')")
        assert stage.round().refused == 1
        assert stage.quarantined().keys() == {("t", "6")}
        stage.write("DELETE FROM t WHERE id = 5", "UPDATE t SET rank = 7 WHERE id = 6")
        assert stage.round().refused == 0
        assert stage.mismatches("t") == []


def test_a_write_looks_up_and_logs_no_more_than_what_stands_in_its_way(stage: Stage) -> None:
    stage.fill()
    stage.write(*(f"INSERT INTO t (id, rank, gone) VALUES ({n}, 5, 1)" for n in range(100, 130)))
    assert stage.sqlite.execute("SELECT count(*) FROM st_change_log WHERE k = 100").fetchone() == (1,), (
        "rows that the condition leaves out stand in nobody's way"
    )
    for (sql,) in stage.sqlite.execute(
        "SELECT sql FROM sqlite_master WHERE name GLOB 'st_capture_t_collide_*'"
    ):
        looked_up = sql[
            sql.rindex(' FROM "t" WHERE') if ' FROM "t" WHERE' in sql else sql.rindex(' FROM "t"\n') :
        ]
        query = re.sub(r"(NEW|OLD)\.\"\w+\"", "?", looked_up[: looked_up.rindex(";")])
        plan = stage.sqlite.execute(f"EXPLAIN QUERY PLAN SELECT 1{query}", [1] * query.count("?")).fetchall()
        assert plan[0][3].startswith("SEARCH t USING INDEX one_"), plan


@pytest.mark.parametrize(
    "ddl",
    ["CREATE UNIQUE INDEX odd ON t (fold(mail))", "CREATE UNIQUE INDEX odd ON t (rank) WHERE fold(mail)"],
)
def test_a_function_of_the_applications_own_is_refused_by_its_name(stage: Stage, ddl: str) -> None:
    with sqlite3.connect(stage.path) as own:
        own.create_function("fold", 1, str.casefold, deterministic=True)
        own.execute("DELETE FROM t")
        own.execute(ddl)
    own.close()
    with pytest.raises(Refused, match="unique index odd cannot be worked out: no such function: fold"):
        stage.prepare()


def test_a_statement_is_taken_apart_as_it_is_written() -> None:
    made = """CREATE UNIQUE INDEX "on (x" ON "t(" ( lower(a) DESC , 'b,)' || [c)] COLLATE NOCASE -- where, )
        , `d`) /* ( */ WHERE (a IN (1, 2)) AND b <> 'where' -- end"""
    assert parts_and_condition(made) == (
        ["lower(a)", "'b,)' || [c)] COLLATE NOCASE", "`d`"],
        "(a IN (1, 2)) AND b <> 'where' -- end",
    )
