"""Keys that SQLite spells otherwise than their column was learnt; each case was found by `make fuzz`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.db.common.settings import load_settings
from app.db.common.urls import Side
from app.db.session.strict import StrictWriter
from app.db.sides.stores import Stores
from app.db.switch.coordinator import Coordinator, Moved
from migration.verify.run import Verify
from tests.data.dirty.dirty_stage import Stage, move, staged
from tests.data.verify.small_pair import make_pair_of


@pytest.fixture
def stage(tmp_path: Path, pg_url: str) -> Iterator[Stage]:
    with staged(
        tmp_path,
        pg_url,
        [
            "CREATE TABLE seen (id TEXT PRIMARY KEY, v TEXT)",
            "CREATE TABLE hosts (id TEXT PRIMARY KEY, v TEXT)",
        ],
        [
            "CREATE TABLE seen (id timestamptz PRIMARY KEY, v text)",
            "CREATE TABLE hosts (id inet PRIMARY KEY, v text)",
        ],
    ) as made:
        made.write(
            "INSERT INTO seen VALUES ('2026-01-05 10:00:00.123456+05:30', 'x')",
            "INSERT INTO hosts VALUES ('2001:DB8::A', 'x'), ('10.0.0.1', 'y')",
        )
        made.fill()
        yield made


def switch(stage: Stage, to: Side) -> None:
    assert Verify(stage.applier).run().clean
    outcome = Coordinator(stage.applier, max_pause_ms=10_000).move(to)
    assert isinstance(outcome, Moved), outcome


def rows(stage: Stage, table: str) -> list[tuple[str, str]]:
    return stage.sqlite.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()


@pytest.mark.parametrize(
    "key", ["2026-01-05 11:00:00+05:30", "2026-01-05T11:00+05:30", "2026-01-05 05:30:00Z"]
)
def test_an_instant_in_a_form_that_came_after_the_copy_is_found_and_deleted(stage: Stage, key: str) -> None:
    stage.write(f"INSERT INTO seen VALUES ('{key}', 'y')")
    stage.round()
    switch(stage, Side.POSTGRES)
    stage.postgres.execute("DELETE FROM seen WHERE id = '2026-01-05 05:30:00+00'")
    stage.round()
    assert rows(stage, "seen") == [("2026-01-05 10:00:00.123456+05:30", "x")]
    assert Verify(stage.applier).run().clean


def test_an_address_in_capitals_is_no_mismatch_for_the_check_of_the_changed_keys(stage: Stage) -> None:
    switch(stage, Side.POSTGRES)
    stage.postgres.execute("UPDATE hosts SET v = 'new' WHERE id = '2001:db8::a'")
    stage.round()
    assert Verify(stage.applier).run().clean
    stage.postgres.execute("UPDATE hosts SET v = 'newer' WHERE id = '2001:db8::a'")
    outcome = Coordinator(stage.applier, max_pause_ms=10_000).move(Side.SQLITE)
    assert isinstance(outcome, Moved), outcome
    assert rows(stage, "hosts") == [("10.0.0.1", "y"), ("2001:DB8::A", "newer")]


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ("DELETE FROM seen WHERE v = 'y'", []),
        ("UPDATE seen SET v = 'new' WHERE v = 'y'", [("2026-01-05 05:30:00.1200Z", "new")]),
    ],
)
def test_a_key_in_a_form_of_its_own_after_the_last_verify_is_found(
    stage: Stage, change: str, left: list[tuple[str, str]]
) -> None:
    assert Verify(stage.applier).run().clean
    stage.write("INSERT INTO seen VALUES ('2026-01-05 05:30:00.1200Z', 'y')")
    stage.round()
    move(stage, Side.POSTGRES)
    stage.postgres.execute(change.encode())
    stage.round()
    assert rows(stage, "seen") == [*left, ("2026-01-05 10:00:00.123456+05:30", "x")]
    assert Verify(stage.applier).run().clean


SPELT_ANEW = [
    ("DATETIME", "timestamp", "'2026-01-05 10:00:00'", "'2026-01-05T10:00:00'"),
    ("VARCHAR", "uuid", "'0000000000000000000000000000000a'", "x'0000000000000000000000000000000a'"),
    ("VARCHAR", "numeric", "'1.5'", "'1.50'"),
]


@pytest.mark.parametrize("strict", [False, True], ids=["async", "strict"])
@pytest.mark.parametrize("key", ["k", "id, k"])
@pytest.mark.parametrize(
    ("ours", "theirs", "before", "after"), SPELT_ANEW, ids=["timestamp", "uuid", "numeric"]
)
def test_a_key_that_is_only_spelt_anew_is_one_row(
    tmp_path: Path, pg_url: str, ours: str, theirs: str, before: str, after: str, key: str, strict: bool
) -> None:
    """The log names the row by both spellings, and only one of them stands."""
    with staged(
        tmp_path,
        pg_url,
        [f"CREATE TABLE t (id INTEGER, k {ours}, v TEXT, PRIMARY KEY ({key}))"],
        [f"CREATE TABLE t (id bigint, k {theirs}, v text, PRIMARY KEY ({key}))"],
    ) as stage:
        stage.write(f"INSERT INTO t VALUES (1, {before}, 'x')")
        stage.fill()
        again = f"UPDATE t SET k = {after}, v = 'new'"
        if strict:
            in_strict_mode(stage, again)
            assert stage.on_postgres("t")[1]["v"] == "new"
        else:
            stage.write(again)
        assert stage.round().refused == 0
        assert stage.mismatches("t") == []
        assert stage.on_postgres("t")[1]["v"] == "new"


def in_strict_mode(stage: Stage, statement: str) -> None:
    """Write on SQLite as a session does that lets the shadow go first."""
    writer = StrictWriter(lambda name: Stores.open(stage.pair, load_settings()))
    engine = sa.create_engine(f"sqlite:///{stage.path}", isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as session:
            session.exec_driver_sql("BEGIN IMMEDIATE")
            session.exec_driver_sql(statement)
            writer.announce(session)
            session.exec_driver_sql("COMMIT")
    finally:
        writer.close()
        engine.dispose()


def test_a_padded_text_beside_another_key_column_is_found_and_deleted(tmp_path: Path, pg_url: str) -> None:
    """PostgreSQL fills a `char(n)` up with blanks, also in the JSON of its log."""

    def fill(sqlite: sqlite3.Connection) -> None:
        sqlite.execute("INSERT INTO t VALUES (1, 'ab', 'x'), (2, '', 'y')")

    pair = make_pair_of(
        tmp_path,
        pg_url,
        "CREATE TABLE t (id INTEGER NOT NULL, k CHAR(5) NOT NULL, v TEXT, PRIMARY KEY (id, k))",
        'CREATE TABLE t (id bigint, k char(5) COLLATE "C", v text, PRIMARY KEY (id, k))',
        fill,
    )
    try:
        pair.move(Side.POSTGRES)
        pair.write("UPDATE t SET v = 'new' WHERE k = 'ab'")
        pair.write("DELETE FROM t WHERE k = ''")
        pair.settle()
        found = pair.applier.stores.sqlite.connection.execute("SELECT * FROM t").fetchall()
        assert found == [(1, "ab", "new")]
    finally:
        pair.applier.stores.close()
