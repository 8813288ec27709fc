"""What strict mode announces: the keys of an open transaction, and a token that ends with the transaction."""

from __future__ import annotations

from app.db.common.urls import Side
from tests.support.pairs import TestPair


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
