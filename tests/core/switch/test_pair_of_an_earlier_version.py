"""A pair that version 0.1.0 prepared and filled goes on under this one: drained, verified, moved, ended.

`tests/facts/earlier_pair` holds both sides as that version left them, with changes in the log that it had
not carried yet.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from app.db.common.urls import Side
from loadtests.stage.embedded import EmbeddedPostgres
from tests.support.pairs import TestPair

STATE = Path(__file__).resolve().parents[2] / "facts" / "earlier_pair"


@pytest.fixture
def earlier(tmp_path: Path, postgres_server: EmbeddedPostgres, pg_url: str) -> Iterator[TestPair]:
    path = tmp_path / "earlier.db"
    connection = sqlite3.connect(path)
    connection.executescript((STATE / "sqlite.sql").read_text(encoding="utf-8"))
    connection.close()
    pair = TestPair(path, pg_url)
    with psycopg.connect(postgres_server.dsn(pair.pair.postgres.database), autocommit=True) as server:
        server.execute((STATE / "postgres.sql").read_bytes())
    yield pair
    pair.close()


def test_what_the_earlier_version_left_in_the_log_is_carried(earlier: TestPair) -> None:
    assert earlier.drain().changes > 0
    earlier.assert_same()


def test_the_move_goes_on_there_and_back(earlier: TestPair) -> None:
    earlier.prepare()
    earlier.drain()
    assert {"mark", "trimmed"} <= {row[1] for row in earlier.lite.execute("PRAGMA table_info(st_watermark)")}
    for to in (Side.POSTGRES, Side.SQLITE, Side.POSTGRES):
        earlier.moved(to)
        assert earlier.writable_sides() == {to}
        earlier.app(to).execute("UPDATE item SET qty = qty + 1")
        earlier.app(to).execute("DELETE FROM counter")
        earlier.drain()
        earlier.assert_same()
