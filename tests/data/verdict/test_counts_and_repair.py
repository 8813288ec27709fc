"""The verdict of a verify: rows counted on both sides, rows set aside told apart, a repair that ends in one call."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from app.db.common.urls import Side
from loadtests.stage.embedded import EmbeddedPostgres
from migration.verify.chunks import Chunk, ChunkReader
from migration.verify.repair import PAGE, repair_all
from migration.verify.run import Verify
from tests.data.verify.small_pair import SmallPair, make_pair_of

SQLITE = """
CREATE TABLE items (id INTEGER PRIMARY KEY, v VARCHAR);
CREATE TABLE pairs (a VARCHAR, b VARCHAR, v INTEGER, PRIMARY KEY (a, b));
"""
POSTGRES = """
CREATE TABLE items (id bigint PRIMARY KEY, v text);
CREATE TABLE pairs (a text, b text, v bigint, PRIMARY KEY (a, b));
"""
ITEMS = 2 * PAGE + 500
TABLES = ["items", "pairs"]


def fill(connection: sqlite3.Connection) -> None:
    connection.executemany("INSERT INTO items VALUES (?, 'v')", [(n,) for n in range(ITEMS)])
    connection.executemany("INSERT INTO pairs VALUES (?, ?, 1)", [(f"a{n}", f"b{n}") for n in range(40)])


@pytest.fixture
def pair(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallPair]:
    name = f"v_{uuid.uuid4().hex[:12]}"
    made = make_pair_of(
        tmp_path_factory.mktemp("verdict"), postgres_server.create_database(name), SQLITE, POSTGRES, fill
    )
    yield made
    made.applier.stores.close()
    postgres_server.drop_database(name)


@pytest.mark.parametrize("primary", list(Side))
def test_one_repair_mends_more_keys_than_a_page_holds(pair: SmallPair, primary: Side) -> None:
    pair.move(primary)
    pair.corrupt("DELETE FROM items WHERE id / 3 * 3 <> id")
    pair.corrupt("UPDATE items SET v = 'x'")
    found = Verify(pair.applier).run()
    assert found.per_table == {"items": ITEMS}
    done = repair_all(pair.applier, TABLES)
    assert (done.keys, done.left) == (ITEMS, {})
    result = Verify(pair.applier).run()
    assert result.clean and result.rows == ITEMS + 40


def test_a_row_that_appears_behind_the_scan_is_counted(
    pair: SmallPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scan of both sides is over, and the shadow gets one row more."""
    read = ChunkReader.read

    def and_then_damage(self: ChunkReader, after: Any, upto: Any) -> Chunk:
        chunk = read(self, after, upto)
        if self._table.name == "items" and upto is None:
            with pair.another_applier().stores as stores:
                stores.postgres.connection.execute(
                    "DO $$ BEGIN PERFORM set_config('st.applying', epoch::text, true) FROM st_control; "
                    "INSERT INTO items VALUES (-1, 'x'); END $$"
                )
        return chunk

    monkeypatch.setattr(ChunkReader, "read", and_then_damage)
    found = Verify(pair.applier).run()
    assert [(item.table, item.kind, item.columns) for item in found.mismatches] == [
        ("items", "count", (f"{ITEMS} on the primary", f"{ITEMS + 1} on the shadow"))
    ]
    monkeypatch.undo()
    assert any("different numbers" in line for line in repair_all(pair.applier, TABLES).reasons())
    assert [item.kind for item in Verify(pair.applier).run().mismatches] == ["extra"]


def test_a_key_that_a_scan_sees_and_no_lookup_finds_is_a_mismatch(
    pair: SmallPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a side whose index is damaged."""
    read = ChunkReader.read

    def with_one_more(self: ChunkReader, after: Any, upto: Any) -> Chunk:
        chunk = read(self, after, upto)
        if self._table.name == "items" and after is None:
            return Chunk([*chunk.sqlite, (-7, "ghost")], chunk.postgres)
        return chunk

    monkeypatch.setattr(ChunkReader, "read", with_one_more)
    found = Verify(pair.applier).run()
    assert [(item.key, item.kind) for item in found.mismatches] == [(("-7",), "unfound")]


def test_rows_set_aside_are_told_apart_from_equal_ones(pair: SmallPair) -> None:
    shell = pair.raw_sqlite()
    shell.execute("INSERT INTO items VALUES (-1, 'nul ' || char(0))")
    shell.execute("INSERT INTO pairs VALUES (NULL, 'b', 1)")
    shell.execute("INSERT INTO pairs VALUES ('a5', NULL, 1)")
    pair.settle()
    for chunk_rows in (2, 5_000):
        result = Verify(pair.applier, chunk_rows=chunk_rows).run()
        assert result.clean
        assert (result.rows, result.set_aside) == (ITEMS + 40, 3)
    shell.close()


@pytest.mark.parametrize("chunk_rows", [3, 5_000])
def test_rows_with_null_in_the_key_are_looked_at_in_tables_of_any_size(
    pair: SmallPair, chunk_rows: int
) -> None:
    shell = pair.raw_sqlite()
    shell.execute(
        "INSERT INTO pairs VALUES (NULL, 'b', 1), ('a5', NULL, 1), ('a5', NULL, 2), ('zz', NULL, 1)"
    )
    shell.close()
    pair.settle()
    pair.applier.stores.postgres.connection.execute("DELETE FROM st_quarantine")
    found = Verify(pair.applier, chunk_rows=chunk_rows).run()
    assert found.per_table == {"pairs": 4}
    assert any("cannot hold the key" in line for line in repair_all(pair.applier, TABLES).reasons())
