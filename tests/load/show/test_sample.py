"""The made database holds the surprises that its maker counts, and is the same each time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest

from loadtests.stage import sample
from loadtests.stage.sample import surprises


@pytest.fixture(scope="module")
def made(sample_file: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"file:{sample_file}?mode=ro", uri=True)) as connection:
        yield connection


def one(connection: sqlite3.Connection, query: str) -> object:
    (value,) = connection.execute(query).fetchone()
    return value


def contents(connection: sqlite3.Connection, table: str) -> list[tuple[object, ...]]:
    return connection.execute(f'SELECT * FROM "{table}" ORDER BY id').fetchall()


def test_every_table_of_the_schema_has_its_rows(made: sqlite3.Connection) -> None:
    names = made.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    counts = {name: one(made, f'SELECT count(*) FROM "{name}"') for (name,) in names}
    assert counts == surprises.ROWS | {"alembic_version": 1}
    assert sum(surprises.ROWS.values()) == 180_329


def test_ids_of_deleted_rows_are_missing(made: sqlite3.Connection) -> None:
    for table, gone in surprises.GONE.items():
        assert one(made, f"SELECT max(id) FROM {table}") == surprises.ROWS[table] + len(gone)
        assert one(made, f"SELECT count(*) FROM {table} WHERE id BETWEEN {gone[0]} AND {gone[-1]}") == 0


def test_texts_without_declared_length(made: sqlite3.Connection) -> None:
    for (table, column), length in surprises.VERY_LONG.items():
        assert one(made, f"SELECT max(length({column})) FROM {table}") == length


def test_integers_reach_their_size(made: sqlite3.Connection) -> None:
    for wide in surprises.WIDE_INTEGERS:
        assert one(made, f"SELECT max({wide.column}) FROM {wide.table}") == wide.largest > 2**31


def test_unique_keys_with_null_let_twins_through(made: sqlite3.Connection) -> None:
    for (table, *columns), twins in surprises.NULL_TWINS.items():
        is_null = " OR ".join(f"{column} IS NULL" for column in columns)
        groups = f"SELECT count(*) AS n FROM {table} WHERE {is_null} GROUP BY {', '.join(columns)}"
        assert one(made, f"SELECT sum(n - 1) FROM ({groups})") == twins, table


def test_names_that_differ_by_case(made: sqlite3.Connection) -> None:
    for (table, column), twins in surprises.CASE_TWINS.items():
        query = f"SELECT count(DISTINCT {column}) - count(DISTINCT lower({column})) FROM {table}"
        assert one(made, query) == twins, table


def test_one_instant_in_two_text_forms(made: sqlite3.Connection) -> None:
    for (table, column), pairs in surprises.TWO_FORMS.items():
        instants = (
            f"SELECT count(DISTINCT {column}) AS n FROM {table} GROUP BY replace({column}, '.000000', '')"
        )
        assert one(made, f"SELECT count(*) FROM ({instants}) WHERE n = 2") == pairs, table
    for (table, column), rows in surprises.WITHOUT_FRACTION.items():
        assert one(made, f"SELECT count(*) FROM {table} WHERE {column} NOT LIKE '%.%'") == rows, table


def test_deliveries_that_were_half_handled(made: sqlite3.Connection) -> None:
    without = "SELECT count(*) FROM alerts WHERE id NOT IN (SELECT alert_id FROM orders WHERE alert_id > 0)"
    assert one(made, without) == surprises.ALERTS_WITHOUT_ORDER
    nan = "SELECT count(*) FROM alerts WHERE raw_payload LIKE '%\"price\":NaN%' AND price IS NULL"
    assert one(made, nan) == surprises.PRICES_THAT_WERE_NAN


def test_numbers_have_every_digit(made: sqlite3.Connection) -> None:
    rounded = "SELECT count(*) FROM candles WHERE open = round(open, 9)"
    assert one(made, rounded) < surprises.ROWS["candles"] / 100  # type: ignore[operator]


def test_equal_seeds_make_equal_rows(
    made: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = made.execute("SELECT * FROM candles ORDER BY id LIMIT 2000").fetchall()
    assert [tuple(row.values()) for row in islice(sample.rows_of("candles"), 2000)] == stored
    monkeypatch.setitem(
        surprises.ROWS, "candles", 2000
    )  # two thirds of all rows, and each is made like the next
    sample.make(tmp_path / "again.db")
    with closing(sqlite3.connect(tmp_path / "again.db")) as again:
        for table in surprises.ROWS.keys() - {"candles"}:
            assert contents(again, table) == contents(made, table), table
    first, other = (next(iter(sample.rows_of("candles", seed=seed))) for seed in (1, 2))
    assert first != other


def test_senders_name_stored_users(sample_file: Path) -> None:
    names = sample.users_of(sample_file)
    assert names[-1] == "admin"
    assert {"trader_one", "Trader_One"} <= set(names)
    assert len(names) == surprises.ROWS["users"]
