"""Proven by corruption: each kind of damage is reported with exactly its keys and columns, nothing else."""

from __future__ import annotations

import math
from typing import Any

import pytest

from app.db.apply.compare import Mismatch
from app.db.common.errors import ConfigurationError, Refused
from app.db.common.urls import Side
from migration.verify.run import Verify, VerifyProgress
from tests.data.verify.small_pair import BARS, TEXT_KEYS, SmallPair


def found(pair: SmallPair, **options: Any) -> set[Mismatch]:
    result = Verify(pair.applier, **options).run()
    assert result.clean is not bool(result.mismatches)
    assert sum(result.per_table.values()) == len(result.mismatches)
    return set(result.mismatches)


def different(table: str, key: object, *columns: str) -> Mismatch:
    return Mismatch(table, (str(key),), "different", columns)


@pytest.mark.parametrize("chunk_rows", [1, 3, 5_000])
def test_equal_sides_are_clean_whatever_the_chunk(either: SmallPair, chunk_rows: int) -> None:
    result = Verify(either.applier, chunk_rows=chunk_rows).run()
    assert result.clean and result.full and not result.resumed
    assert result.rows == BARS + 5 + len(TEXT_KEYS) + 19 + 12 + 5 + 10
    assert result.tables == ("bars", "by_both", "by_text", "by_uuid", "children", "empty", "kinds", "parents")


ONE_VALUE = [
    ("i", 4, "i + 1", None),
    ("f", 4, "%s", math.nextafter(0.1, 1)),
    ("f", 5, "%s", math.nextafter(1e300, 0)),
    ("t", 5, "t || ' '", None),
    ("t", 2, "NULL", None),
    ("t", 3, "''", None),
    ("ts", 1, "'2026-01-05 10:00:00.000001'", None),
    ("ts", 2, "'2026-01-05 09:59:59.999999'", None),
    ("ts", 4, "'2026-01-05 10:00:00.120001'", None),
    ("ts", 4, "'2026-01-05 10:00:00.012000'", None),
    ("d", 5, "'2024-03-01'", None),
    ("tm", 4, "'23:59:59.999998'", None),
    ("tm", 1, "'10:00:00.000001'", None),
    ("bl", 1, "%s", b"\x00\xfe"),
    ("bl", 2, "NULL", None),
    ("n", 1, "n + 1", None),
    ("u", 4, "'00000000-0000-0000-0000-00000000000f'", None),
    ("i", 3, "0", None),
    ("f", 3, "0", None),
    ("i", 1, "NULL", None),
]


@pytest.mark.parametrize(("column", "key", "value", "parameter"), ONE_VALUE)
def test_one_value(either: SmallPair, column: str, key: int, value: str, parameter: Any) -> None:
    either.corrupt(
        f"UPDATE kinds SET {column} = {value} WHERE id = {key}", *([] if parameter is None else [parameter])
    )
    assert found(either) == {different("kinds", key, column)}


def test_a_flipped_boolean_and_a_missing_one(either: SmallPair) -> None:
    either.corrupt("UPDATE kinds SET b = NOT b WHERE id = 1")
    either.corrupt("UPDATE kinds SET b = NOT (id = 3) WHERE id = 3")
    assert found(either) == {different("kinds", 1, "b"), different("kinds", 3, "b")}


def test_two_columns_of_one_row(either: SmallPair) -> None:
    either.corrupt("UPDATE kinds SET i = 99, t = 'else' WHERE id = 5")
    assert found(either) == {different("kinds", 5, "i", "t")}


def test_swapped_rows(either: SmallPair) -> None:
    with either.silently() as execute:
        execute("UPDATE bars SET id = -1 WHERE id = 10")
        execute("UPDATE bars SET id = 10 WHERE id = 20")
        execute("UPDATE bars SET id = 20 WHERE id = -1")
    assert found(either, chunk_rows=7) == {
        different("bars", 10, "symbol", "ts", "price"),
        different("bars", 20, "symbol", "ts", "price"),
    }


@pytest.mark.parametrize("chunk_rows", [2, 5_000])
def test_lost_rows(either: SmallPair, chunk_rows: int) -> None:
    for table, where in (
        ("bars", f"id IN (1, 200, {BARS})"),
        ("by_text", "k IN ('', '😀', 'ab')"),
        ("by_uuid", "v = 1"),
        ("by_both", "a = 2 AND b = 'é'"),
    ):
        either.corrupt(f"DELETE FROM {table} WHERE {where}")
    lost = found(either, chunk_rows=chunk_rows)
    assert {item.kind for item in lost} == {"missing"}
    assert {item.key for item in lost if item.table == "bars"} == {("1",), ("200",), (str(BARS),)}
    assert {item.key for item in lost if item.table == "by_text"} == {("",), ("😀",), ("ab",)}
    assert {item.key for item in lost if item.table == "by_both"} == {("2", "é")}
    assert len([item for item in lost if item.table == "by_uuid"]) == 19
    assert ("00000000-0000-0000-0000-000001234567",) in {item.key for item in lost}


@pytest.mark.parametrize("chunk_rows", [2, 5_000])
def test_added_rows_before_between_and_beyond(either: SmallPair, chunk_rows: int) -> None:
    for key in (-5, BARS + 1, BARS + 1_000):
        either.corrupt("INSERT INTO bars VALUES (%s, 'S', NULL, 1)", key)
    either.corrupt("INSERT INTO empty VALUES (1, 1), (2, 2), (3, 3)")
    for key in ("!", "aa", "\U0010ffff"):
        either.corrupt("INSERT INTO by_text VALUES (%s, 1)", key)
    either.corrupt("INSERT INTO by_both VALUES (2, 'aa', 1), (11, '', 1)")
    added = {("bars", str(key)) for key in (-5, BARS + 1, BARS + 1_000)}
    added |= {("empty", "1"), ("empty", "2"), ("empty", "3")}
    added |= {("by_text", "!"), ("by_text", "aa"), ("by_text", "\U0010ffff")}
    added |= {("by_both", '["2", "aa"]'), ("by_both", '["11", ""]')}
    extra = found(either, chunk_rows=chunk_rows)
    assert {item.kind for item in extra} == {"extra"}
    assert {(item.table, item.key_text()) for item in extra} == added


def test_a_whole_table_lost(either: SmallPair) -> None:
    either.corrupt("DELETE FROM bars")
    result = Verify(either.applier, chunk_rows=64).run()
    assert result.per_table == {"bars": BARS}
    assert {item.kind for item in result.mismatches} == {"missing"}


def test_some_tables_only_leaves_the_full_record_alone(pair: SmallPair) -> None:
    Verify(pair.applier).run()
    query = b"SELECT run, position, finished_at FROM st_verify"
    before = pair.applier.stores.postgres.connection.execute(query).fetchall()
    pair.corrupt("DELETE FROM parents WHERE id = 1")
    assert found(pair, tables=["children"]) == set()
    partial = Verify(pair.applier, tables=["parents", "children"]).run()
    assert not partial.full and partial.per_table == {"parents": 1}
    assert pair.applier.stores.postgres.connection.execute(query).fetchall() == before
    with pytest.raises(ConfigurationError, match="no table nothing"):
        Verify(pair.applier, tables=["nothing"]).run()


def test_a_clean_run_forgets_earlier_mismatches(pair: SmallPair) -> None:
    pair.corrupt("UPDATE parents SET name = 'else' WHERE id = 1")
    assert found(pair) == {different("parents", 1, "name")}
    pair.corrupt("UPDATE parents SET name = 'p1' WHERE id = 1")
    assert found(pair) == set()
    assert pair.applier.stores.postgres.connection.execute("SELECT count(*) FROM st_mismatch").fetchall() == [
        (0,)
    ]


def test_nothing_is_compared_while_rows_are_being_copied(pair: SmallPair) -> None:
    control = pair.applier.stores.postgres.connection
    control.execute("UPDATE st_control SET phase = 'copying'")
    with pytest.raises(Refused, match="phase copying"):
        Verify(pair.applier).run()
    control.execute("UPDATE st_control SET phase = 'replicating'")


def test_progress_adds_up(pair: SmallPair) -> None:
    seen: list[VerifyProgress] = []
    result = Verify(pair.applier, chunk_rows=50).run(seen.append)
    assert seen[-1].rows == result.rows
    assert (seen[-1].tables_done, seen[-1].tables) == (8, 8)
    assert len([progress for progress in seen if progress.table == "bars"]) == BARS // 50 + 1


def test_long_texts_make_short_chunks(pair: SmallPair) -> None:
    long = "x" * 2_000_000
    for n in range(6):
        pair.write("INSERT INTO bars VALUES (%s, %s, NULL, 0)", -100 + n, long)
    pair.settle()
    rows: list[int] = []
    assert Verify(pair.applier, tables=["bars"]).run(lambda progress: rows.append(progress.rows)).clean
    steps = [after - before for before, after in zip([0, *rows], rows, strict=False)]
    assert steps[1] < steps[0] and max(steps) < BARS
    pair.write("DELETE FROM bars WHERE id < 0")
    pair.settle()


def test_the_primary_decides_the_direction(pair: SmallPair) -> None:
    """The same row, seen from the shadow: extra on one, missing on the other."""
    pair.corrupt("INSERT INTO empty VALUES (1, 1)")
    assert found(pair) == {Mismatch("empty", ("1",), "extra")}
    pair.corrupt("DELETE FROM empty")
    Verify(pair.applier).run()
    pair.move(Side.POSTGRES)
    pair.corrupt("INSERT INTO empty VALUES (1, 1)")
    assert found(pair) == {Mismatch("empty", ("1",), "extra")}
