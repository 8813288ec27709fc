"""Prepare and abort touch what takes part only, and leave PostgreSQL as it was found."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from app.db.apply.round import Applier
from app.db.common.errors import NotPrepared, Refused, StaleAttempt
from app.db.common.failpoints import Failpoint, arm
from app.db.common.settings import ShimSettings
from app.db.common.urls import Side
from app.db.rows import catalog
from app.db.sides import tables
from app.db.sides.stores import Stores
from app.db.switch.gates import evaluate
from migration.fill.backfill import Backfill
from migration.fill.before import paired
from migration.fill.prepare import prepare
from migration.switch import teardown
from migration.verify import checking
from tests.support.contents import postgres_dump, sqlite_dump
from tests.support.pairs import PlainTables, TestPair

INSTALLER = """
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE parent (id integer PRIMARY KEY, code varchar(20) COLLATE "C" UNIQUE, made timestamp(3) DEFAULT now());
CREATE TABLE child (id serial PRIMARY KEY, parent_id integer CONSTRAINT child_parent REFERENCES parent (id),
                    note text DEFAULT 'none');
CREATE INDEX child_note ON child (note);
"""
SQLITE = """
CREATE TABLE parent (id INTEGER PRIMARY KEY, code VARCHAR(20) UNIQUE, made DATETIME);
CREATE TABLE child (id INTEGER PRIMARY KEY, parent_id INTEGER REFERENCES parent (id), note TEXT);
INSERT INTO parent VALUES (1, 'one', '2026-01-02 09:15:00.000000');
INSERT INTO child VALUES (1, 1, 'x'), (2, 1, NULL);
"""
OTHER = "CREATE TABLE other (id integer PRIMARY KEY, code varchar(3)); INSERT INTO other VALUES (1, 'abc')"


class Installed(PlainTables):
    """The tables are the installer's; nothing is made, and they are widened as ever."""

    def __init__(self) -> None:
        super().__init__("SELECT 1", probe=None)


@pytest.fixture
def make(tmp_path: Path, pg_url: str) -> Iterator[Callable[..., TestPair]]:
    made: list[TestPair] = []

    def pair(sqlite: str, postgres: str) -> TestPair:
        connection = sqlite3.connect(tmp_path / "a.db")
        connection.executescript(sqlite)
        connection.close()
        made.append(TestPair(tmp_path / "a.db", pg_url))
        for statement in filter(str.strip, postgres.split(";")):
            made[-1].pg.execute(statement.encode())
        return made[-1]

    yield pair
    for item in made:
        item.close()


def _prepare(pair: TestPair, source: PlainTables | None = None, **options: Any) -> None:
    with Stores.open(pair.pair, ShimSettings()) as stores:
        prepare(pair.pair, stores, source or Installed(), report=lambda line: None, **options)


def _abort(pair: TestPair) -> None:
    with Stores.open(pair.pair, ShimSettings()) as stores:
        teardown.end(stores, "abort", unfence=False, report=lambda line: None)


def _dumps(pair: TestPair) -> tuple[str, str]:
    return sqlite_dump(pair.path), postgres_dump(pair.pg)


def test_the_names_that_are_ours_are_those_of_the_bookkeeping_tables() -> None:
    assert {name for side in Side for name in tables.names(side)} == catalog.BOOKKEEPING


def test_abort_leaves_what_the_installer_made(make: Callable[..., TestPair]) -> None:
    pair = make(SQLITE, INSTALLER)
    before = _dumps(pair)
    _prepare(pair)
    pair.backfill()
    assert pair.pg.execute("SELECT count(*) FROM child").fetchone() == (2,)
    pair.close()
    _abort(pair)
    assert _dumps(pair) == before


def test_a_failed_prepare_leaves_what_it_found(make: Callable[..., TestPair]) -> None:
    pair = make(SQLITE, INSTALLER)
    before = _dumps(pair)

    def fail() -> None:
        raise Refused("the disk is full")

    for point in (
        Failpoint.PREPARE_CONTROL,
        Failpoint.PREPARE_SCHEMA,
        Failpoint.PREPARE_CAPTURE,
    ):
        with arm(point, fail), pytest.raises(Refused, match="the disk is full"):
            _prepare(pair)
        assert _dumps(pair) == before, point
    _prepare(pair)


def test_one_command_at_a_time_begins_or_ends_a_move(
    make: Callable[..., TestPair], monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = make(SQLITE, INSTALLER)
    before = _dumps(pair)
    monkeypatch.setattr(paired, "WAIT_S", 0.0)
    with paired.alone(pair.new_stores().postgres):
        for command in (_prepare, _abort):
            with pytest.raises(Refused, match="another command prepares or ends a move here"):
                command(pair)
    assert _dumps(pair) == before
    _prepare(pair)


@pytest.mark.parametrize(
    ("point", "then"),
    [
        (Failpoint.PREPARE_CONTROL, "moved"),
        (Failpoint.PREPARE_CAPTURE, "moved"),
        (Failpoint.PREPARE_CAPTURE, "aborted"),
    ],
)
def test_a_prepare_that_wakes_up_late_touches_nothing(
    make: Callable[..., TestPair], monkeypatch: pytest.MonkeyPatch, point: Failpoint, then: str
) -> None:
    """Its lock went with its connection while it slept, and others went on, up to rows that PostgreSQL alone has."""
    pair = make(SQLITE, INSTALLER)
    monkeypatch.setattr(paired, "alone", lambda _: nullcontext())
    after: list[tuple[str, str]] = []

    def others() -> None:
        if not after:
            after.append(("", ""))
            if then == "moved":
                _prepare(pair)
                pair.backfill()
                pair.moved(Side.POSTGRES)
                pair.pg.execute("INSERT INTO parent (id, code) VALUES (9, 'new')")
            else:
                pair.close()
                _abort(pair)
            after[0] = _dumps(pair)

    with arm(point, others), pytest.raises((StaleAttempt, NotPrepared)):
        _prepare(pair)
    assert _dumps(pair) == after[0]


def test_a_failed_prepare_drops_what_its_source_made(make: Callable[..., TestPair]) -> None:
    pair = make("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)", "CREATE TABLE kept (id int)")
    before = _dumps(pair)
    source = PlainTables(
        "CREATE TYPE mood AS ENUM ('good'); CREATE SEQUENCE counted;"
        'CREATE TABLE t (id bigserial PRIMARY KEY, a text COLLATE "C"); CREATE TABLE more (id bigint PRIMARY KEY, m mood);'
        "CREATE VIEW seen AS SELECT a FROM t",
        probe="t",
    )
    with pytest.raises(Exception, match="more is only on PostgreSQL"):
        _prepare(pair, source, exclude=("kept",))
    assert _dumps(pair) == before


def test_a_view_over_a_column_that_has_to_be_widened_is_named(make: Callable[..., TestPair]) -> None:
    pair = make(SQLITE, INSTALLER + "CREATE VIEW codes AS SELECT code FROM parent")
    before = _dumps(pair)
    with pytest.raises(
        Refused, match="view codes stands on parent, whose columns have to be widened"
    ) as error:
        _prepare(pair)
    assert error.value.hint is not None
    assert 'DROP VIEW "codes"' in error.value.hint
    assert _dumps(pair) == before
    pair.pg.execute("DROP VIEW codes")
    _prepare(pair)


def test_an_unrelated_table_is_compared_before_anything_is_emptied(make: Callable[..., TestPair]) -> None:
    pair = make(SQLITE, INSTALLER + OTHER + "; INSERT INTO parent (id, code) VALUES (7, 'found')")
    before = _dumps(pair)
    with pytest.raises(Refused, match="other: the table is only on PostgreSQL"):
        _prepare(pair, discard_target=True)
    assert _dumps(pair) == before
    with pytest.raises(Refused, match="parent: the table already holds rows"):
        _prepare(pair, exclude=("other",))
    assert _dumps(pair) == before
    _prepare(pair, discard_target=True, exclude=("other",))
    assert pair.pg.execute("SELECT id, code FROM other").fetchall() == [(1, "abc")]
    assert pair.pg.execute("SELECT count(*) FROM parent").fetchone() == (0,)
    kind = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'other'::regclass AND attname = 'code'"
    assert pair.pg.execute(kind.encode()).fetchone() == ("character varying(3)",)


def test_a_table_that_is_left_out_is_not_captured_not_compared_and_named(
    make: Callable[..., TestPair],
) -> None:
    pair = make(
        SQLITE + "CREATE TABLE candles_2024 (id INTEGER PRIMARY KEY); INSERT INTO candles_2024 VALUES (1)",
        INSTALLER,
    )
    _prepare(pair, exclude=("candles_2024",))
    pair.backfill()
    pair.lite.execute("INSERT INTO candles_2024 VALUES (2)")
    assert pair.log_size(Side.SQLITE) == 0
    _prepare(pair, exclude=("candles_2024",))
    with pytest.raises(Refused, match="the pair is prepared, and child takes part in it"):
        _prepare(pair, exclude=("child",))
    assert checking.verify(Applier(pair.new_stores()), None, None, lambda *_: None).clean
    pair.moved(Side.POSTGRES)
    pair.lite.execute("INSERT INTO candles_2024 VALUES (3)")  # the fence is not there, either
    assert catalog.sqlite_left_out(pair.lite) == {"candles_2024"} == catalog.postgres_left_out(pair.pg)


def test_a_table_with_a_name_that_begins_like_ours_moves_like_any_other(
    make: Callable[..., TestPair],
) -> None:
    pair = make(
        "CREATE TABLE st_orders (id INTEGER PRIMARY KEY, qty REAL); INSERT INTO st_orders VALUES (1, 2.5)",
        "CREATE TABLE st_orders (id bigint PRIMARY KEY, qty double precision)",
    )
    _prepare(pair)
    pair.backfill()
    pair.moved(Side.POSTGRES)
    pair.pg.execute("INSERT INTO st_orders VALUES (2, 3.5)")
    pair.drain()
    assert pair.lite.execute("SELECT * FROM st_orders ORDER BY id").fetchall() == [(1, 2.5), (2, 3.5)]


def test_generated_columns_are_each_sides_own(make: Callable[..., TestPair]) -> None:
    pair = make(
        "CREATE TABLE g (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER GENERATED ALWAYS AS (a + 1) STORED UNIQUE,"
        " c INTEGER AS (a * 2)); INSERT INTO g (id, a) VALUES (1, 10)",
        "CREATE TABLE g (id bigint PRIMARY KEY, a bigint, b bigint GENERATED ALWAYS AS (a + 1) STORED UNIQUE,"
        " c bigint GENERATED ALWAYS AS (a * 2) STORED)",
    )
    _prepare(pair)
    pair.backfill()
    pair.lite.execute("REPLACE INTO g (id, a) VALUES (2, 10)")  # takes row 1's place by the generated key
    pair.drain()
    assert pair.pg.execute("SELECT * FROM g").fetchall() == [(2, 10, 11, 20)]
    assert checking.verify(Applier(pair.new_stores()), None, None, lambda *_: None).clean
    pair.moved(Side.POSTGRES)
    pair.pg.execute("UPDATE g SET a = 7")
    pair.drain()
    assert pair.lite.execute("SELECT * FROM g").fetchall() == [(2, 7, 8, 14)]


def test_a_text_in_the_integer_key_of_a_long_table_is_set_aside(make: Callable[..., TestPair]) -> None:
    pair = make(
        "CREATE TABLE big (id BIGINT PRIMARY KEY, a TEXT);"
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) INSERT INTO big SELECT i, 'x' FROM n;"
        "INSERT INTO big VALUES ('key', 'y')",
        "CREATE TABLE big (id bigint PRIMARY KEY, a text)",
    )
    _prepare(pair)
    Backfill(pair.applier).run()
    assert pair.pg.execute("SELECT count(*) FROM big").fetchone() == (100_000,)
    assert [row[1] for row in pair.pg.execute("SELECT tbl, k FROM st_quarantine").fetchall()]


def test_an_own_trigger_made_later_closes_the_capture_gate(make: Callable[..., TestPair]) -> None:
    pair = make(SQLITE, INSTALLER)
    _prepare(pair)
    pair.backfill()
    pair.lite.execute("CREATE TRIGGER echo AFTER INSERT ON child BEGIN DELETE FROM child WHERE id < 0; END")
    gates = evaluate(pair.applier, Side.POSTGRES, max_pause_ms=5_000, source=Installed())
    gate = next(item for item in gates if item.name == "capture")
    assert not gate.ok
    assert "echo on child (SQLite)" in gate.detail
