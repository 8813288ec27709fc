"""Settings that switch triggers off: capture and fence act all the same, and the setting is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from app.db.common.urls import Side
from app.db.switch.gates import Gate, evaluate
from migration.fill.prepare import prepare
from tests.support.pairs import PAUSE_MS, PlainTables, TestPair

IN_REPLICA = {"options": "-c session_replication_role=replica"}


@contextmanager
def stored(pair: TestPair, place: str) -> Iterator[None]:
    """The setting, stored for a database or a role."""
    pair.pg.execute(f"ALTER {place} SET session_replication_role = replica".encode())
    try:
        yield
    finally:
        pair.pg.execute(f"ALTER {place} RESET session_replication_role".encode())


def capture_gate(pair: TestPair) -> Gate:
    found = evaluate(pair.new_applier(), Side.SQLITE, max_pause_ms=PAUSE_MS, source=PlainTables())
    return next(gate for gate in found if gate.name == "capture")


def test_a_session_without_triggers_is_captured(promoted: TestPair) -> None:
    stranger = promoted.new_pg(**IN_REPLICA)
    stranger.execute("INSERT INTO counter (id, n) VALUES (77, 1)")
    stranger.execute("UPDATE counter SET n = 2 WHERE id = 77")
    assert promoted.logged(Side.POSTGRES, "counter") == {(77,)}
    promoted.drain()
    assert promoted.lite.execute("SELECT n FROM counter WHERE id = 77").fetchall() == [(2,)]


def test_a_session_without_triggers_does_not_pass_the_fence(replicating: TestPair) -> None:
    stranger = replicating.new_pg(**IN_REPLICA)
    with pytest.raises(psycopg.Error, match="takes no application writes"):
        stranger.execute("INSERT INTO counter (id, n) VALUES (77, 1)")


@pytest.mark.parametrize("place", ["DATABASE {database}", "ROLE ALL", "ROLE ALL IN DATABASE {database}"])
def test_the_gate_names_where_the_setting_is_stored(promoted: TestPair, place: str) -> None:
    where = place.format(database=promoted.pair.postgres.database)
    with stored(promoted, where):
        gate = capture_gate(promoted)
    assert not gate.ok and "session_replication_role = replica is stored for" in gate.detail
    assert "RESET session_replication_role" in gate.remedy
    assert capture_gate(promoted).ok


def test_triggers_of_an_earlier_version_are_mended_by_prepare(promoted: TestPair) -> None:
    promoted.pg.execute("ALTER TABLE counter ENABLE TRIGGER st_capture_insert")  # as it was installed then
    with stored(promoted, f"DATABASE {promoted.pair.postgres.database}"):
        stranger = promoted.new_pg()
        stranger.execute("INSERT INTO counter (id, n) VALUES (78, 1)")
        assert promoted.logged(Side.POSTGRES, "counter") == set()
        assert not capture_gate(promoted).ok
        done = prepare(promoted.pair, promoted.new_stores(), PlainTables(), report=lambda line: None)
        assert done.repaired
    promoted.pg.execute("INSERT INTO counter (id, n) VALUES (79, 1)")
    assert promoted.logged(Side.POSTGRES, "counter") == {(79,)}


@pytest.mark.parametrize("state", ["DISABLE TRIGGER st_capture_update", "DISABLE TRIGGER USER"])
def test_prepare_after_a_disabled_trigger_asks_for_a_verify(promoted: TestPair, state: str) -> None:
    """What was written meanwhile was not captured, so the last verify says nothing any more."""
    promoted.pg.execute(f"ALTER TABLE counter {state}".encode())
    assert prepare(promoted.pair, promoted.new_stores(), PlainTables(), report=lambda line: None).repaired
    assert promoted.pg.execute("SELECT count(*) FROM st_verify").fetchone() == (0,)
    assert capture_gate(promoted).ok
