"""A row's key in all its forms: one way leads to each, and none changes which row is meant."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from app.db.common.errors import ApplyFailed
from app.db.common.urls import Side
from app.db.rows import key_sql, keys
from app.db.rows.catalog import Column, Table
from app.db.rows.kinds import Kind
from app.db.switch.rehearsal import rehearse
from migration.verify.run import Verify
from tests.data.dirty.dirty_stage import Stage, staged

TYPES = {Kind.INTEGER: ("INTEGER", "bigint"), Kind.TEXT: ("TEXT", "text"), Kind.UUID: ("CHAR(32)", "uuid")}
HEX, DASHES = "00000000000000000000000000abcdef", "00000000-0000-0000-0000-000000abcdef"


def table_with_key(*kinds: Kind) -> Table:
    key = tuple(Column(f"k{n}", kind, TYPES[kind][1], False) for n, kind in enumerate(kinds))
    value = Column("v", Kind.TEXT, "text", True)
    return Table("-".join(kinds), (value, *key), key)  # the key is not where the row begins


# Kinds of the key, what SQLite logs, what PostgreSQL logs, canonical, in one text, what SQLite stores.
FORMS: list[tuple[tuple[Kind, ...], Any, str, tuple[str, ...], str, tuple[Any, ...]]] = [
    ((Kind.INTEGER,), 7, "7", ("7",), "7", (7,)),
    ((Kind.INTEGER,), -(2**62), str(-(2**62)), (str(-(2**62)),), str(-(2**62)), (-(2**62),)),
    ((Kind.TEXT,), "7", "7", ("7",), "7", ("7",)),
    ((Kind.TEXT,), 'ä "', 'ä "', ('ä "',), 'ä "', ('ä "',)),
    ((Kind.UUID,), HEX, DASHES, (DASHES,), DASHES, (HEX,)),
    ((Kind.INTEGER, Kind.TEXT), '[7,"x"]', '[7, "x"]', ("7", "x"), '["7", "x"]', (7, "x")),
    ((Kind.TEXT, Kind.UUID), f'["7","{HEX}"]', f'["7", "{DASHES}"]', ("7", DASHES), f'["7", "{DASHES}"]', ("7", HEX)),
]  # fmt: skip


@pytest.mark.parametrize(("kinds", "on_sqlite", "on_postgres", "canonical", "text", "stored"), FORMS)
def test_each_form_of_a_key_leads_to_the_others(
    kinds: tuple[Kind, ...], on_sqlite: Any, on_postgres: str, canonical: keys.Key, text: str, stored: Any
) -> None:
    table = table_with_key(*kinds)
    (typed,) = keys.typed(table, [on_postgres])
    for raw in (on_sqlite, typed, keys.logged(table, canonical), keys.logged_on_sqlite(table, canonical)):
        assert keys.canonical_of(table, raw) == canonical
        assert keys.text_of(table, raw) == text
        assert keys.on_sqlite(table, raw) == stored
        assert keys.findable(table, raw) == raw
        assert columns_of(table, [raw, raw]) == [[part, part] for part in canonical]
    assert keys.of_row(table, (None, *stored)) == keys.of_row(
        table, (None, *canonical_values(table, canonical))
    )
    assert keys.of_row(table, (None, *stored)) == canonical == keys.from_text(table, text)
    assert keys.values_on_sqlite(table, canonical) == stored
    assert keys.from_bound(keys.to_bound(stored)) == stored


def columns_of(table: Table, raws: list[Any]) -> list[list[str | None]]:
    return [list(column) for column in keys.canonical_columns(table, raws)]


def canonical_values(table: Table, key: keys.Key) -> tuple[Any, ...]:
    """A key as PostgreSQL's reader yields it."""
    return keys.split(table, keys.logged(table, key))


@pytest.mark.parametrize("value", ["--5", "٣", "5 ", "+5", "", "9" * 30, 1.5, b"5"])
def test_what_is_no_integer_has_no_integer_key(value: Any) -> None:
    table = table_with_key(Kind.INTEGER)
    assert keys.canonical_of(table, value) is None
    assert columns_of(table, [1, value]) == [["1"]]
    assert keys.of_row(table, ("v", value)) not in {("5",), ("3",)}


def test_an_announced_integer_is_the_integer() -> None:
    table = table_with_key(Kind.INTEGER)
    assert columns_of(table, ["5", "-7"]) == [["5", "-7"]]
    assert keys.text_of(table, "5") == keys.to_text(keys.of_row(table, ("v", 5)))


def test_rows_with_null_in_the_key_stay_apart() -> None:
    table = table_with_key(Kind.TEXT, Kind.INTEGER)
    rows = [("a", "x", None), ("b", "x", None), ("a", None, 1)]
    assert len({keys.to_text(keys.of_row(table, row)) for row in rows}) == 3
    assert keys.findable(table, json.dumps(["x", None])) is None


@pytest.mark.parametrize(
    "kinds", [(Kind.INTEGER,), (Kind.TEXT,), (Kind.TEXT, Kind.INTEGER), (Kind.INTEGER, Kind.TEXT)]
)
def test_a_range_is_searched_and_not_scanned(kinds: tuple[Kind, ...]) -> None:
    """Else a verify reads a table from its beginning for each range."""
    table = table_with_key(*kinds)
    columns = ", ".join(f"{c.name} {TYPES[c.kind][0]}" for c in table.key)
    where, parameters = key_sql.range_on_sqlite(table, (1, 1)[: len(kinds)], None)
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(
            f'CREATE TABLE "{table.name}" ({columns}, v TEXT, PRIMARY KEY ({key_sql.names(table)}))'
        )
        plan = connection.execute(
            f'EXPLAIN QUERY PLAN SELECT * FROM "{table.name}" {where} ORDER BY {key_sql.order_on_sqlite(table)}',
            parameters,
        ).fetchall()
    assert [row[3].split()[0] for row in plan] == ["SEARCH"], plan


def test_a_text_that_only_looks_like_a_number_touches_no_other_row(tmp_path: Path, pg_url: str) -> None:
    """Python reads other digits as numbers, too; SQLite keeps them as text in an integer column."""
    with staged(
        tmp_path,
        pg_url,
        ["CREATE TABLE t (id INT PRIMARY KEY, v TEXT)"],
        ["CREATE TABLE t (id bigint PRIMARY KEY, v text)"],
    ) as stage:
        stage.write("INSERT INTO t VALUES (3, 'good')")
        stage.fill()
        stage.write("INSERT INTO t VALUES ('٣', 'arabic')", "INSERT INTO t VALUES ('--5', 'signs')")
        assert stage.round().refused == 2
        assert stage.on_postgres("t").keys() == {3}
        assert {key for _, key in stage.quarantined()} == {
            json.dumps({"text": text}) for text in ("٣", "--5")
        }


@pytest.fixture
def percent(tmp_path: Path, pg_url: str) -> Any:
    """A pair whose only table has percent signs in every name."""
    names = '("k %s" {0} PRIMARY KEY, "v %" {1})'
    with staged(
        tmp_path,
        pg_url,
        [f'CREATE TABLE "t 100%" {names.format("INTEGER", "TEXT")}'],
        [f'CREATE TABLE "t 100%" {names.format("bigint", "text")}'],
    ) as stage:
        stage.write("""INSERT INTO "t 100%" VALUES (1, 'a'), (2, 'b')""")
        stage.fill()
        yield stage


def test_verify_and_rehearsal_take_percent_signs_in_names(percent: Stage) -> None:
    percent.postgres.execute("""SELECT set_config('st.applying', '1', false)""")
    percent.postgres.execute("""UPDATE "t 100%" SET "v %" = 'other' WHERE "k %s" = 2""")
    percent.postgres.execute("""SELECT set_config('st.applying', '', false)""")
    result = Verify(percent.applier, chunk_rows=1).run()
    assert [(item.kind, item.key) for item in result.mismatches] == [("different", ("2",))]
    for side in Side:
        assert rehearse(percent.applier.stores, percent.applier.schema(), side)[0]


def test_ranges_cut_the_rows_of_an_enum_key_alike(tmp_path: Path, pg_url: str) -> None:
    """PostgreSQL orders an enum by its declaration; a range goes by the text, as on SQLite."""
    with staged(
        tmp_path,
        pg_url,
        ["CREATE TABLE t (id TEXT PRIMARY KEY, v TEXT)"],
        ["CREATE TYPE letter AS ENUM ('c', 'a', 'b')", "CREATE TABLE t (id letter PRIMARY KEY, v text)"],
    ) as stage:
        stage.write("INSERT INTO t VALUES ('a', '1'), ('b', '2'), ('c', '3')")
        assert stage.fill(chunk_rows=1) == 3
        assert stage.on_postgres("t").keys() == {"a", "b", "c"}


def test_ranges_lose_no_row_of_a_key_that_is_spelt_in_several_ways(tmp_path: Path, pg_url: str) -> None:
    """The order of the texts is not that of the uuids, so a range of one side is none of the other."""
    spelt = [f"{n:032x}" for n in range(0xA0000000, 0xA0000008)]
    spelt = [
        text.upper() if n % 2 else text for n, text in enumerate(text[24:] + text[:24] for text in spelt)
    ]
    with staged(
        tmp_path,
        pg_url,
        ["CREATE TABLE t (id CHAR(36) PRIMARY KEY, v TEXT)"],
        ["CREATE TABLE t (id uuid PRIMARY KEY, v text)"],
    ) as stage:
        mixed = [*spelt, *(f"{{{text[:8]}-{text[8:12]}-4444-4444-{text[:12]}}}" for text in spelt)]
        stage.write(*(f"INSERT INTO t VALUES ('{text}', 'x')" for text in mixed))
        assert stage.fill(chunk_rows=1) == len(mixed)
        assert len(stage.on_postgres("t")) == len(mixed)


def test_bytes_and_reals_in_a_key_of_several_columns_are_captured_exactly(
    tmp_path: Path, pg_url: str
) -> None:
    """JSON has no bytes, and SQLite prints 15 digits of a real there."""
    with staged(
        tmp_path,
        pg_url,
        ["CREATE TABLE t (id INTEGER, a BLOB, b FLOAT, v TEXT, PRIMARY KEY (id, a, b))"],
        ["CREATE TABLE t (id bigint, a bytea, b double precision, v text, PRIMARY KEY (id, a, b))"],
    ) as stage:
        stage.fill()
        stage.write(
            "INSERT INTO t VALUES (1, x'00ff', 1.0 / 3, 'x'), (2, x'', 9e999, 'y'), (3, x'41', -1e-7, 'z')",
            # SQLite prints the last digit of such numbers wrong.
            "INSERT INTO t VALUES (4, x'', 1.7976931348623157e308, 'h'), (5, x'', -1.1545580616824966e232, 'h')",
        )
        assert stage.round().refused == 0
        stage.write(
            "UPDATE t SET v = 'new' WHERE id = 1",
            "DELETE FROM t WHERE id = 2",
            "UPDATE t SET b = 2.5 WHERE id = 3",
        )
        assert stage.round().refused == 0
        assert stage.mismatches("t") == []
        expected = {1: "new", 3: "z", 4: "h", 5: "h"}
        assert {key: row["v"] for key, row in stage.on_postgres("t").items()} == expected


def test_a_key_too_long_for_an_index_is_set_aside(tmp_path: Path, pg_url: str) -> None:
    """Neither PostgreSQL's own index takes it, nor one that keeps quarantine in order."""
    words = Random(1)
    long = "".join(chr(words.randrange(33, 10_000)) for _ in range(20_000))
    tables = (
        ["CREATE TABLE t (k TEXT NOT NULL PRIMARY KEY, v TEXT)"],
        ["CREATE TABLE t (k text PRIMARY KEY, v text)"],
    )
    with staged(tmp_path, pg_url, *tables) as stage:
        stage.write("INSERT INTO t VALUES ('ok', 'x')")
        stage.fill()
        stage.sqlite.execute("INSERT INTO t VALUES (?, 'x')", (long,))
        stage.write("UPDATE t SET v = 'y'")
        stage.round()
        assert stage.quarantined().keys() == {("t", long)}
        assert stage.postgres.execute("SELECT k, v FROM t").fetchall() == [("ok", "y")]
        assert Verify(stage.applier).run().clean
        stage.postgres.execute("DELETE FROM st_quarantine")
        assert Verify(stage.applier).run().per_table == {"t": 1}
        stage.write("DELETE FROM t WHERE k <> 'ok'")
        stage.round()
        assert Verify(stage.applier).run().clean


def test_two_rows_of_one_key_are_an_error_that_names_the_table(tmp_path: Path, pg_url: str) -> None:
    """One moment in two spellings, in one round; the stream goes on when one of the rows is gone."""
    tables = (
        ["CREATE TABLE t (k DATETIME NOT NULL PRIMARY KEY, v TEXT)"],
        ["CREATE TABLE t (k timestamp PRIMARY KEY, v text)"],
    )
    with staged(tmp_path, pg_url, *tables) as stage:
        stage.write("INSERT INTO t VALUES ('2026-01-01 00:00:00', 'x')")
        stage.fill()
        stage.write("UPDATE t SET v = 'y'", "INSERT INTO t VALUES ('2026-01-01T00:00:00', 'z')")
        with pytest.raises(ApplyFailed, match="two rows of SQLite have this key in two spellings"):
            stage.round()
        stage.write("DELETE FROM t WHERE v = 'z'")
        stage.round()
        assert stage.postgres.execute("SELECT v FROM t").fetchall() == [("y",)]


def test_a_row_without_a_key_is_known_whatever_zeros_end_its_times(tmp_path: Path, pg_url: str) -> None:
    """Verify reads times without them, and quarantine keeps each byte. One table for each way to have no key."""
    tables = (
        ("a", "VARCHAR(9)", "text", None, "x"),
        ("b", "DATETIME", "timestamp", "2026-13-01 10:00:00.120000", "2026-01-01 10:00:00.120000"),
        ("c", "TIME", "time(3)", "10:00:00.999950", "10:00:00.120000"),
    )
    with staged(
        tmp_path,
        pg_url,
        [f"CREATE TABLE {name} (k {ours} PRIMARY KEY, at DATETIME)" for name, ours, *_ in tables],
        [f"CREATE TABLE {name} (k {theirs} PRIMARY KEY, at timestamp)" for name, _, theirs, *_ in tables],
    ) as stage:
        for name, *_, odd, good in tables:
            for key in (odd, good):
                stage.sqlite.execute(f"INSERT INTO {name} VALUES (?, '2026-01-01 10:00:00.120000')", (key,))
        stage.fill()
        assert sorted(table for table, _ in stage.quarantined()) == ["a", "b", "c"]
        for chunk_rows in (1, 10_000):
            found = Verify(stage.applier, chunk_rows=chunk_rows).run()
            assert (found.clean, found.rows, found.set_aside) == (True, 3, 3)
