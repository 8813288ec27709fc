"""A first round as shadow that fails must not leave cascading foreign keys to the next one."""

from __future__ import annotations

import pytest

from app.db.common.failpoints import Failpoint, FailpointError, arm
from app.db.common.urls import Side
from app.db.sides.postgres.target import COPY_FROM
from app.db.switch.coordinator import Coordinator, Moved
from migration.verify.run import Verify
from tests.data.verify.small_pair import SmallPair


def test_promote_then_fail_then_update_a_parent(pair: SmallPair) -> None:
    """postgres had foreign keys as primary - its first round as shadow fails - a parent is replaced."""
    pair.move(Side.POSTGRES)
    assert isinstance(Coordinator(pair.applier, max_pause_ms=10_000).move(Side.SQLITE), Moved)
    for n in range(COPY_FROM):  # a round of so many entries deletes what it replaces
        pair.write("UPDATE parents SET name = %s WHERE id = 1", f"new {n}")
    with arm(Failpoint.APPLY_BEFORE_COMMIT, "raise"), pytest.raises(FailpointError):
        pair.applier.round()
    pair.settle()
    count = pair.applier.stores.postgres.connection.execute("SELECT count(*) FROM children").fetchall()
    assert count == [(10,)]
    assert Verify(pair.applier).run().clean
