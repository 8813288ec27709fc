"""The keys that changed since the verify are compared before and inside the fence."""

from __future__ import annotations

import pytest

from app.db.apply.changed import ChangedKeys
from app.db.common.errors import SchemaDrift
from app.db.common.failpoints import Failpoint, arm
from app.db.common.urls import Side
from app.db.switch.coordinator import Aborted
from migration.verify.run import Verify
from tests.support.pairs import TestPair


def _behind_the_fence(pair: TestPair, side: Side, statement: str) -> None:
    """Alter a row of the shadow as only a fault can."""
    connection = pair.app(side)
    if side is Side.POSTGRES:
        with connection.transaction():
            connection.execute("SELECT set_config('st.applying', epoch::text, true) FROM st_control")
            connection.execute(statement)
        return
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE st_control SET applying = 1")
    connection.execute(statement)
    connection.execute("UPDATE st_control SET applying = 0")
    connection.execute("COMMIT")


def test_mismatch_found_inside_the_fence(pair: TestPair, primary: Side) -> None:
    """A changed row that arrived altered: the switch is called off, writers go on, the row is named."""
    shadow = primary.other

    def change() -> None:
        pair.app(primary).execute("UPDATE item SET qty = 4711 WHERE id = 1")

    def corrupt() -> None:
        _behind_the_fence(pair, shadow, "UPDATE item SET qty = 4712 WHERE id = 1")

    with arm(Failpoint.SWITCH_BEGUN, change), arm(Failpoint.SWITCH_DRAINED, corrupt):
        outcome = pair.move(shadow)
    assert isinstance(outcome, Aborted)
    assert [(item.table, item.key, item.columns) for item in outcome.mismatches] == [
        ("item", ("1",), ("qty",))
    ]
    assert not outcome.retryable
    assert pair.writable_sides() == {primary}


@pytest.mark.parametrize("kind", ["missing", "extra"])
def test_row_missing_or_extra_is_found_before_the_fence(pair: TestPair, primary: Side, kind: str) -> None:
    pair.app(primary).execute("UPDATE code SET v = v")
    pair.app(primary).execute("DELETE FROM code WHERE code = 'a'")
    pair.drain()
    statement = {
        "missing": "DELETE FROM code WHERE code = 'B'",
        "extra": "INSERT INTO code VALUES ('a', NULL, 'ghost')",
    }[kind]
    _behind_the_fence(pair, primary.other, statement)
    outcome = pair.move(primary.other)
    assert isinstance(outcome, Aborted)
    assert len(outcome.mismatches) == 1
    assert outcome.pause_ms == 0
    assert pair.writable_sides() == {primary}


def test_more_changed_keys_than_one_fetch_are_checked(pair: TestPair, primary: Side) -> None:
    connection = pair.app(primary)
    connection.execute("BEGIN")
    for n in range(4_500):
        connection.execute(f"INSERT INTO counter (id, n) VALUES ({n + 100}, {n})")
    connection.execute("COMMIT")
    assert pair.moved(primary.other).checked_keys >= 4_500


def test_a_text_key_named_none_is_checked(pair: TestPair, primary: Side) -> None:
    """The log spells "the whole table" with NULL, not with the word."""
    pair.app(primary).execute("INSERT INTO code VALUES ('None', 50, 'v')")
    pair.drain()
    _behind_the_fence(pair, primary.other, "UPDATE code SET v = 'altered' WHERE code = 'None'")

    with arm(Failpoint.SWITCH_BEGUN, lambda: None):
        outcome = pair.move(primary.other)
    assert isinstance(outcome, Aborted)
    assert [item.key for item in outcome.mismatches] == [("None",)]


def test_a_table_that_was_renamed_since_the_verify_is_named(replicating: TestPair) -> None:
    """The log has its former name, under which nothing can be compared: a new verify is asked for."""
    replicating.lite.execute("UPDATE counter SET n = n + 1")
    for side in Side:
        replicating.app(side).execute("ALTER TABLE counter RENAME TO numbers")
    replicating.drain()  # what was logged of the former name is with the table under its new one
    rows = [
        replicating.app(side).execute("SELECT id, n FROM numbers ORDER BY id").fetchall() for side in Side
    ]
    assert list(map(tuple, rows[0])) == rows[1]
    with pytest.raises(SchemaDrift, match="the log names table counter"):
        ChangedKeys(replicating.applier).check_rest()


def test_writes_to_a_renamed_table_name_it_alone(replicating: TestPair) -> None:
    """Triggers under its former name would go on logging that name, and no verify could end the refusals."""
    for side in Side:
        replicating.app(side).execute("ALTER TABLE counter RENAME TO numbers")
    replicating.drain()
    assert Verify(replicating.applier).run().clean
    replicating.lite.execute("UPDATE numbers SET n = n + 1")
    replicating.drain()
    assert ChangedKeys(replicating.applier).check_rest() == []
    assert not replicating.logged(Side.SQLITE, "counter")
