"""Sequences with settings of their own: their ids are given out once, too, or the switch is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.db.common.urls import Side
from app.db.switch.coordinator import Aborted, Coordinator
from app.db.switch.gates import evaluate
from migration.watch import quarantine
from tests.data.dirty.dirty_stage import Stage, move, staged
from tests.support.pairs import connect

SQLITE = ["CREATE TABLE t (id {} PRIMARY KEY, at DATETIME, v TEXT)"]
# What the sequence is, the key's type on both sides, and what the gate says with the statement that helps.
UNFIT = [
    ("INCREMENT -1", "INTEGER", "bigint", "nextval('s')", "counts down",
     "ALTER SEQUENCE s INCREMENT 1 NO MINVALUE NO MAXVALUE START 1 RESTART"),
    ("INCREMENT -1", "INTEGER", "bigint", "", "counts down",
     "ALTER SEQUENCE s INCREMENT 1 NO MINVALUE NO MAXVALUE START 1 RESTART"),
    ("MAXVALUE 150 CYCLE", "INTEGER", "bigint", "", "starts again at its end", "ALTER SEQUENCE s NO CYCLE"),
    ("MAXVALUE 150 CYCLE", "INTEGER", "bigint", "nextval('s')", "starts again at its end", "ALTER SEQUENCE s NO CYCLE"),
    ("", "NUMERIC", "numeric", "nextval('s')", "fills a column that is no integer", 'ALTER TABLE "t" ALTER "id" DROP DEFAULT'),
    ("", "TEXT", "text", "'N-' || nextval('s')", "fills a column that is no integer", 'ALTER TABLE "t" ALTER "id" DROP DEFAULT'),
]  # fmt: skip


def accept(stage: Stage) -> None:
    store = stage.applier.stores.postgres
    quarantine.accept(store, quarantine.held_rows(store), "asha")


def gate(stage: Stage) -> tuple[bool, str]:
    found = {gate.name: gate for gate in evaluate(stage.applier, Side.POSTGRES, max_pause_ms=5000)}
    return found["sequences"].ok, found["sequences"].detail


@pytest.mark.parametrize(("options", "ours", "theirs", "default", "says", "remedy"), UNFIT)
def test_a_sequence_that_cannot_be_set_beyond_what_was_used_refuses_the_switch(
    tmp_path: Path, pg_url: str, options: str, ours: str, theirs: str, default: str, says: str, remedy: str
) -> None:
    drawing = default and f"DEFAULT {default}"  # without one the application draws by itself
    table = f"CREATE TABLE t (id {theirs} PRIMARY KEY {drawing}, at timestamp, v text)"
    made = [f"CREATE SEQUENCE s {options}", table, "CREATE SEQUENCE slots MAXVALUE 8 CYCLE"]
    made += ["ALTER TABLE t ADD slot integer DEFAULT nextval('slots')"]  # unique nowhere: it may come again
    lite = [SQLITE[0].format(ours), "ALTER TABLE t ADD slot INTEGER"]
    with staged(tmp_path, pg_url, lite, made) as stage:
        stage.write("INSERT INTO t (id, v) VALUES (-1, 'a'), (1, 'b')")
        stage.fill()
        ok, detail = gate(stage)
        assert not ok and detail.startswith("table t, column id: sequence s ")
        assert says in detail and detail.endswith(remedy)
        outcome = Coordinator(stage.applier, max_pause_ms=5000).move(Side.POSTGRES)
        assert isinstance(outcome, Aborted) and detail in outcome.reason
        stage.postgres.execute(remedy.encode())
        assert gate(stage)[0]
        move(stage, Side.POSTGRES)


def test_a_sequence_that_two_columns_share_ends_with_the_narrower(tmp_path: Path, pg_url: str) -> None:
    made = ["CREATE SEQUENCE s", "CREATE DOMAIN narrow AS smallint"]
    for table, kind in (("a", "narrow"), ("b", "bigint")):
        made.append(f"CREATE TABLE {table} (id {kind} PRIMARY KEY DEFAULT nextval('s'))")
    ours = [f"CREATE TABLE {table} (id INTEGER PRIMARY KEY)" for table in "ab"]
    with staged(tmp_path, pg_url, ours, made) as stage:
        stage.write("INSERT INTO a VALUES (1)", "INSERT INTO b VALUES (40000)")
        stage.fill()
        full = [f"table {table}, column id: no id is left below 32767" for table in "ab"]
        assert gate(stage) == (False, "; ".join(full))


def test_numbers_that_a_session_keeps_are_not_given_out_after_the_other_side_had_them(
    tmp_path: Path, pg_url: str
) -> None:
    made = [
        "CREATE SEQUENCE s CACHE 50",
        "CREATE TABLE t (id bigint PRIMARY KEY DEFAULT nextval('s'), at timestamp, v text)",
    ]
    insert = "INSERT INTO t (v) VALUES ('n') RETURNING id"
    with staged(tmp_path, pg_url, [SQLITE[0].format("INTEGER")], made) as stage, connect(pg_url) as session:
        stage.fill()
        move(stage, Side.POSTGRES)
        (first,) = session.execute(insert).fetchone() or (0,)
        stage.round()
        move(stage, Side.SQLITE)
        stage.write("INSERT INTO t (at, v) VALUES ('soon', 'only here')")
        assert stage.sqlite.execute("SELECT max(id) FROM t").fetchone() == (first + 1,)
        stage.round()
        accept(stage)
        move(stage, Side.POSTGRES)
        (second,) = session.execute(insert).fetchone() or (0,)
        assert second > first + 1
        stage.round()
        kept = stage.sqlite.execute("SELECT id FROM t WHERE v = 'only here'").fetchall()
        assert kept == [(first + 1,)]


@pytest.mark.parametrize("drawn", ["by the column", "by its domain", "by the application"])
def test_a_key_of_a_domain_counts_as_the_type_under_it(tmp_path: Path, pg_url: str, drawn: str) -> None:
    default = "DEFAULT nextval('s')"
    made = [
        "CREATE SEQUENCE s",
        f"CREATE DOMAIN wide AS bigint {default if drawn == 'by its domain' else ''}",
        "CREATE DOMAIN number AS wide",
        f"CREATE TABLE t (id number PRIMARY KEY {default if drawn == 'by the column' else ''}, at timestamp, v text)",
    ]
    with staged(tmp_path, pg_url, [SQLITE[0].format("INTEGER")], made) as stage, connect(pg_url) as pg:
        stage.write("INSERT INTO t VALUES (1, NULL, 'a'), (2, 'soon', 'only here')")
        stage.fill()
        accept(stage)
        move(stage, Side.POSTGRES)
        (new,) = pg.execute("INSERT INTO t (id, v) VALUES (nextval('s'), 'n') RETURNING id").fetchone() or (
            0,
        )
        assert new > 2
