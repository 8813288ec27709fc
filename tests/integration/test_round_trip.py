"""There and back and there again, without copying again (P6)."""

from __future__ import annotations

from app.db.urls import Side
from tests.support.pairs import TestPair


def test_smoke(replicating: TestPair) -> None:
    replicating.assert_same()
    for to in (Side.POSTGRES, Side.SQLITE, Side.POSTGRES):
        replicating.moved(to)
        assert replicating.writable_sides() == {to}
        replicating.assert_same()
