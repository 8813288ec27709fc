"""The pair of stores: which is which, what an open transaction has written, and both closed at the end."""

from __future__ import annotations

import sqlite3

import pytest

from app.db.common.settings import ShimSettings
from app.db.common.urls import Side
from app.db.sides.stores import Stores
from tests.support.pairs import TestPair, wait_until

_CONNECTED = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'st-twice'"


def test_both_sides_are_closed_when_the_block_ends(replicating: TestPair) -> None:
    with Stores.open(replicating.pair, ShimSettings(), application_name="st-twice") as stores:
        assert stores.postgres.connection.execute("SELECT 1").fetchone() == (1,)
        assert replicating.pg.execute(_CONNECTED).fetchone() == (1,)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        stores.sqlite.connection.execute("SELECT 1")
    wait_until(lambda: replicating.pg.execute(_CONNECTED).fetchone() == (0,))


@pytest.mark.parametrize("stage", ["replicating", "promoted"])
def test_primary_and_shadow_are_as_the_control_row_has_them(
    stage: str, request: pytest.FixtureRequest
) -> None:
    stores = request.getfixturevalue(stage).applier.stores
    primary = Side.SQLITE if stage == "replicating" else Side.POSTGRES
    assert [store.side for store in stores.directions()] == [primary, primary.other]
    assert all(stores.store(side).side is side for side in Side)


def test_a_token_ends_with_its_transaction(pair: TestPair, primary: Side) -> None:
    writer = pair.app(primary)
    store, _ = pair.applier.stores.directions()
    assert store.side is primary
    writer.execute("UPDATE item SET qty = qty + 1 WHERE id = 1")  # committed: not of the open transaction
    writer.execute("BEGIN")
    writer.execute("UPDATE item SET qty = qty + 1 WHERE id = 2")
    writer.execute("DELETE FROM pairkey WHERE a = 2")
    logged = store.in_flight(writer)
    assert logged.raws.keys() == {"item", "pairkey"}
    assert list(map(str, logged.raws["item"])) == ["2"]
    with store.source() as source:
        assert not source.has_ended(logged.token)
    writer.execute("COMMIT")
    with store.source() as source:
        assert source.has_ended(logged.token)
