"""P8: before prepare there is nothing of ours anywhere, and after the removal there is nothing left."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from app.db.common.urls import Side
from app.db.sides.capture import triggers as capture
from tests.support.pairs import TestPair

_OBJECTS = """
SELECT 'relation', relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace
UNION ALL SELECT 'function', proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL SELECT 'trigger', tgname FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT 'type', typname FROM pg_type WHERE typnamespace = 'public'::regnamespace
"""


def _sqlite_objects(pair: TestPair) -> set[Any]:
    return set(pair.lite.execute("SELECT type, name, sql FROM sqlite_master").fetchall())


def _postgres_objects(pair: TestPair) -> set[Any]:
    return set(pair.pg.execute(_OBJECTS).fetchall())


def _ours(objects: set[Any]) -> set[Any]:
    return {item for item in objects if item[1].startswith("st_")}


def test_an_unprepared_file_has_nothing_of_ours(fresh: TestPair) -> None:
    assert _ours(_sqlite_objects(fresh)) == set()
    engine = create_engine(fresh.pair.sqlite)
    with Session(engine) as session:
        session.connection().exec_driver_sql("UPDATE item SET qty = 5")
        session.commit()
    engine.dispose()
    assert _ours(_sqlite_objects(fresh)) == set()
    assert _postgres_objects(fresh) == set()


@pytest.mark.parametrize("stage", ["copying", "replicating", "promoted"])
def test_removal_leaves_nothing(fresh: TestPair, clone: Any, stage: str) -> None:
    pair: TestPair = clone(stage)
    assert len(_ours(_sqlite_objects(pair))) > 10
    assert len(_ours(_postgres_objects(pair))) > 10
    rows = pair.contents(Side.SQLITE), pair.contents(Side.POSTGRES)
    with pair.applier.stores.sqlite.write() as connection:
        capture.remove_sqlite(connection)
    with pair.applier.stores.postgres.write() as postgres:
        capture.remove_postgres(postgres)
    assert _sqlite_objects(pair) == _sqlite_objects(fresh)
    assert _ours(_postgres_objects(pair)) == set()
    assert pair.lite.execute("SELECT count(*) FROM sqlite_sequence WHERE name LIKE 'st_%'").fetchone() == (0,)
    assert (pair.contents(Side.SQLITE), pair.contents(Side.POSTGRES)) == rows
    assert pair.writable_sides() == set(Side)


def test_removal_and_preparation_again(replicating: TestPair) -> None:
    """A pair that was taken apart can be made anew; nothing of the old one is in the way."""
    with replicating.applier.stores.sqlite.write() as connection:
        capture.remove_sqlite(connection)
    replicating.close()
    replicating.pg.execute("DROP SCHEMA public CASCADE")
    replicating.pg.execute("CREATE SCHEMA public")
    replicating.prepare()
    replicating.backfill()
    replicating.moved(Side.POSTGRES)
    replicating.assert_same()
