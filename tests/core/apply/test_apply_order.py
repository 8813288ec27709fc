"""Orders in which PostgreSQL's transactions become visible, placed one by one; none may be skipped.

Sequence numbers are handed out at the write, not at the commit, so the log's numbers are not its order.
"""

from __future__ import annotations

from app.db.common.failpoints import Failpoint, arm
from app.db.common.urls import Side
from tests.support.pairs import TestPair


def test_lower_number_commits_after_higher_was_applied(promoted: TestPair) -> None:
    early, late = promoted.new_pg(), promoted.new_pg()
    early.execute("BEGIN")
    early.execute("UPDATE item SET qty = 111 WHERE id = 1")
    late.execute("UPDATE item SET qty = 222 WHERE id = 2")
    assert promoted.drain().changes == 1
    early.execute("COMMIT")
    assert promoted.drain().changes == 1
    promoted.assert_same()


def test_long_transaction_does_not_hold_apply_back(promoted: TestPair) -> None:
    long = promoted.new_pg()
    long.execute("BEGIN")
    long.execute("UPDATE item SET qty = 111 WHERE id = 1")
    for n in range(5):
        promoted.pg.execute("UPDATE item SET qty = %s WHERE id = 2", (n,))
        assert promoted.drain().changes == 1
        assert promoted.lite.execute("SELECT qty FROM item WHERE id = 2").fetchone() == (n,)
    long.execute("COMMIT")
    promoted.drain()
    promoted.assert_same()


def test_several_open_at_once_commit_in_reverse(promoted: TestPair) -> None:
    writers = [promoted.new_pg() for _ in range(4)]
    for n, writer in enumerate(writers, start=1):
        writer.execute("BEGIN")
        writer.execute("UPDATE item SET qty = 900 WHERE id = %s", (n,))
    for writer in reversed(writers):
        writer.execute("COMMIT")
        assert promoted.drain().changes == 1
    promoted.assert_same()


def test_savepoints_have_the_number_of_their_transaction(promoted: TestPair) -> None:
    writer = promoted.new_pg()
    writer.execute("BEGIN")
    writer.execute("SAVEPOINT a")
    writer.execute("UPDATE item SET qty = 111 WHERE id = 1")
    writer.execute("RELEASE a")
    promoted.pg.execute("UPDATE item SET qty = 222 WHERE id = 2")
    promoted.drain()
    writer.execute("COMMIT")
    assert promoted.drain().changes == 1
    promoted.assert_same()


def test_rolled_back_number_is_not_waited_for(promoted: TestPair) -> None:
    with promoted.pg.transaction(force_rollback=True):
        promoted.pg.execute("UPDATE item SET qty = 111 WHERE id = 1")
    promoted.pg.execute("UPDATE item SET qty = 222 WHERE id = 2")
    assert promoted.drain().changes == 1
    promoted.assert_same()


def test_commit_between_snapshot_and_advance_belongs_to_the_next_round(pair: TestPair, primary: Side) -> None:
    writer = pair.new_lite() if primary is Side.SQLITE else pair.new_pg()
    pair.app(primary).execute("UPDATE item SET qty = 1 WHERE id = 1")
    with arm(Failpoint.APPLY_READ, lambda: writer.execute("UPDATE item SET qty = 2 WHERE id = 1") and None):
        assert pair.drain().changes == 1
    assert pair.app(primary.other).execute("SELECT qty FROM item WHERE id = 1").fetchone() == (1,)
    assert pair.drain().changes == 1
    pair.assert_same()


def test_commit_between_lock_and_snapshot_belongs_to_this_round(pair: TestPair, primary: Side) -> None:
    writer = pair.new_lite() if primary is Side.SQLITE else pair.new_pg()
    pair.app(primary).execute("UPDATE item SET qty = 1 WHERE id = 1")
    with arm(Failpoint.APPLY_LOCKED, lambda: writer.execute("UPDATE item SET qty = 2 WHERE id = 1") and None):
        assert pair.drain().changes == 2
    pair.assert_same()


def test_unique_value_handed_on_by_two_transactions(promoted: TestPair) -> None:
    giver = promoted.new_pg()
    giver.execute("DELETE FROM item WHERE id = 2")
    taker = promoted.new_pg()
    taker.execute("BEGIN")
    taker.execute("INSERT INTO item (id, name) VALUES (91, 'two')")
    promoted.drain()
    taker.execute("COMMIT")
    promoted.drain()
    promoted.assert_same()


def test_one_that_applied_before_the_clock_was_set_back_is_not_waited_for(
    pair: TestPair, primary: Side
) -> None:
    """It may have ended meanwhile, and nobody would apply until the clock gets there again."""
    applier, other = pair.new_applier(), pair.new_applier()
    for one in (applier, other):
        pair.app(primary).execute("UPDATE item SET qty = qty + 1")
        one.round()
    assert applier.is_followed(60.0)
    pair.app(primary.other).execute("UPDATE st_watermark SET applied_at = applied_at + 3600")
    assert not applier.is_followed(60.0)
