"""A switch under large transactions ends in time, and says who was in the way."""

from __future__ import annotations

import threading
import time

import pytest

from app.db.apply.changed import ChangedKeys
from app.db.common.urls import Side
from app.db.switch import gates, guarded
from app.db.switch.coordinator import Aborted
from migration.verify.run import Verify
from tests.support.pairs import PlainTables, TestPair


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """These pairs have no Alembic chain."""
    monkeypatch.setattr(gates, "source_of", lambda connection: PlainTables())


def test_who_holds_the_fence_down_is_named(promoted: TestPair) -> None:
    Verify(promoted.applier).run()
    writer = promoted.new_pg(application_name="nightly-import")
    writer.execute("BEGIN")
    writer.execute("INSERT INTO counter (id, n) VALUES (500, 1)")
    pid = writer.info.backend_pid
    outcome = promoted.move(Side.SQLITE, max_pause_ms=200)
    writer.execute("ROLLBACK")
    assert isinstance(outcome, Aborted) and outcome.retryable
    assert f"pid {pid} (nightly-import, idle in transaction) since " in outcome.reason


def test_a_prepared_transaction_that_holds_the_fence_down_is_named_and_lost_by_nobody(
    promoted: TestPair,
) -> None:
    Verify(promoted.applier).run()
    promoted.pg.execute("BEGIN")
    promoted.pg.execute("INSERT INTO counter (id, n) VALUES (500, 1)")
    promoted.pg.execute("PREPARE TRANSACTION 'it''s'")
    outcome = promoted.move(Side.SQLITE, max_pause_ms=200)
    promoted.pg.execute("COMMIT PREPARED 'it''s'")
    assert isinstance(outcome, Aborted)
    assert "COMMIT PREPARED 'it''s'" in outcome.reason
    promoted.drain()
    promoted.assert_same()


def test_no_attempt_begins_after_the_limit(promoted: TestPair) -> None:
    """Transactions without a pause between them; each attempt aborts, and the last one in time."""
    Verify(promoted.applier).run()
    stop, holding = threading.Event(), threading.Event()

    def write() -> None:
        connection = promoted.new_pg(application_name="nightly-import")
        connection.execute("BEGIN")
        connection.execute("INSERT INTO counter (id, n) VALUES (500, 1)")
        holding.set()
        stop.wait(30)
        connection.execute("ROLLBACK")

    writer = threading.Thread(target=write)
    writer.start()
    assert holding.wait(10)
    told: list[str] = []
    began = time.monotonic()
    outcome = guarded.switch(
        promoted.new_applier(), Side.SQLITE, max_pause_ms=900, report=told.append, attempts=99, limit_s=3
    )
    took = time.monotonic() - began
    stop.set()
    writer.join()
    assert isinstance(outcome, Aborted) and "nightly-import" in outcome.reason
    assert took < 15
    assert told[0] == "asking the gates" and any("trying again for" in line for line in told)
    assert promoted.writable_sides() == {Side.POSTGRES}


def test_comparing_changed_keys_is_given_up(promoted: TestPair) -> None:
    Verify(promoted.applier).run()
    promoted.pg.execute("UPDATE counter SET n = n + 1")
    promoted.drain()
    with pytest.raises(TimeoutError, match="time ran out while changed keys were compared"):
        ChangedKeys(promoted.applier, give_up_at=time.monotonic() - 1).check_rest()
