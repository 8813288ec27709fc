"""P3 and P4 of small rounds: the result is that of an ordinary round, and what needs one gets one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from app.db.apply.outcome import Round, Skipped
from app.db.apply.round import Applier
from app.db.apply.small import SMALL
from app.db.common.errors import NotPrepared
from app.db.common.failpoints import Failpoint, FailpointError, arm
from app.db.common.urls import Side
from app.db.rows.catalog import Table
from app.db.sides.postgres.target import FEW, PostgresTarget
from tests.core.apply.test_apply import BOTH, SQLITE_ONLY, SWAPS
from tests.support.pairs import TestPair
from tests.support.shapes import HOSTILE, HOSTILE_KEY, HOSTILE_VALUE, TOKENS, ident
from tests.support.small_rounds import SmallRounds, resumable, small_rounds_at_once


@pytest.fixture(autouse=True)
def small() -> Iterator[SmallRounds]:
    with small_rounds_at_once() as seen:
        yield seen


def carried(applier: Applier) -> int:
    outcome = applier.round()
    assert isinstance(outcome, Round), outcome
    return outcome.changes


def in_one(pair: TestPair, statements: list[str]) -> None:
    pair.lite.execute("BEGIN")
    for statement in statements:
        pair.lite.execute(statement)
    pair.lite.execute("COMMIT")


CHANGES = {
    "insert": ["INSERT INTO item (id, name) VALUES (50, 'new')"],
    "update": ["UPDATE item SET qty = qty + 1, note = NULL WHERE id = 1"],
    "delete": ["DELETE FROM item WHERE id = 1"],
    "come_and_gone": ["INSERT INTO item (id, name) VALUES (50, 'new')", "DELETE FROM item WHERE id = 50"],
    "gone_and_back": ["DELETE FROM item WHERE id = 1", "INSERT INTO item (id, name) VALUES (1, 'back')"],
    "one_row_often": [f"UPDATE item SET qty = {n} WHERE id = 1" for n in range(9)],
    "key_moves": ["UPDATE item SET id = 100 WHERE id = 1"],
    "keys_move_up": ["UPDATE item SET id = id + 1000"],
    "name_handed_on": ["DELETE FROM item WHERE id = 2", "INSERT INTO item (id, name) VALUES (90, 'two')"],
    "composite_insert": ["INSERT INTO pairkey VALUES (7, 'ä \"\\', 'x'), (7, '', NULL)"],
    "composite_update": ["UPDATE pairkey SET v = 'other' WHERE a = 1"],
    "composite_delete": ["DELETE FROM pairkey WHERE a = 2"],
    "composite_key_moves": ["UPDATE pairkey SET b = b || '!' WHERE a = 1", "UPDATE pairkey SET a = 9 WHERE a = 2"],
    "text_keys": ["UPDATE code SET v = 'w'", "DELETE FROM code WHERE code = ''", "UPDATE plain SET code = 'ü' WHERE code = 'c'"],
    "uuid_keys": [f"UPDATE token SET v = 'w' WHERE id = '{TOKENS[0]}'", f"DELETE FROM token WHERE id = '{TOKENS[1]}'"],
    "hostile_names": [
        f"UPDATE {ident(HOSTILE)} SET {ident(HOSTILE_VALUE)} = '%s {{}}' WHERE {ident(HOSTILE_KEY)} = 1",
        f"INSERT INTO {ident(HOSTILE)} VALUES (5, 'r', 'h')",
    ],
    "several_tables": [
        "INSERT INTO owner VALUES (9, 'new')", "INSERT INTO pet VALUES (9, 9, 'fox')", "UPDATE counter SET n = 5",
        "DELETE FROM loan", "UPDATE kinds SET t = 'changed' WHERE id = 1",
    ],
    "every_kind": [
        f"INSERT INTO kinds ({column}) VALUES ({text})"
        for values in (BOTH, SQLITE_ONLY) for column, texts in values.items() for text in texts
    ],
}  # fmt: skip


@pytest.mark.parametrize("case", CHANGES)
def test_a_small_round_carries_it(replicating: TestPair, small: SmallRounds, case: str) -> None:
    applier = resumable(replicating)
    before = replicating.log_size(Side.SQLITE)
    in_one(replicating, CHANGES[case])
    assert carried(applier) == replicating.log_size(Side.SQLITE) - before
    assert len(small.carried) == 1
    replicating.assert_same()
    assert carried(applier) == 0
    assert small.overtaken == 0, "the next one begins where this one ended"


@pytest.mark.parametrize("entries", [1, FEW, FEW + 1, SMALL, SMALL + 1])
def test_as_many_entries_as_are_small(replicating: TestPair, small: SmallRounds, entries: int) -> None:
    applier = resumable(replicating)
    in_one(replicating, [f"INSERT INTO counter (n) VALUES ({n})" for n in range(entries)])
    assert carried(applier) == entries
    assert small.carried == ([entries] if entries <= SMALL else [])
    replicating.assert_same()


def test_one_after_the_other(replicating: TestPair, small: SmallRounds) -> None:
    """Long enough for every statement to be prepared on the server."""
    applier = resumable(replicating)
    for n in range(12):
        for case in ("update", "composite_update", "one_row_often"):
            in_one(replicating, CHANGES[case])
            carried(applier)
        in_one(
            replicating,
            [f"INSERT INTO owner VALUES ({100 + n}, '{n}')", f"DELETE FROM counter WHERE id = {n}"],
        )
        carried(applier)
    assert (len(small.carried), small.overtaken) == (48, 0)
    replicating.assert_same()


@pytest.mark.parametrize("swap", [name for name in SWAPS if name != "handed_on"])
def test_swapped_unique_values_take_the_careful_round(
    replicating: TestPair, small: SmallRounds, swap: str
) -> None:
    applier = resumable(replicating)
    in_one(replicating, SWAPS[swap])
    assert carried(applier) > 0
    assert (small.tried, small.carried) == (1, [])
    replicating.assert_same()
    in_one(replicating, CHANGES["several_tables"])
    assert [carried(applier)] == small.carried
    replicating.assert_same()


def test_what_a_small_round_refuses_goes_to_quarantine_and_none_is_tried_until_that_is_empty(
    replicating: TestPair, small: SmallRounds
) -> None:
    applier = resumable(replicating)
    replicating.lite.execute("UPDATE item SET name = 'nul' || char(0) WHERE id = 1")
    assert carried(applier) == 1
    assert small.carried == [1]
    assert replicating.pg.execute("SELECT tbl, k FROM st_quarantine").fetchall() == [("item", "1")]
    for n in range(3):
        replicating.lite.execute("UPDATE item SET qty = ? WHERE id = 2", (n,))
        assert carried(applier) == 1
    assert small.tried == 1
    replicating.lite.execute("UPDATE item SET name = 'fine' WHERE id = 1")
    for n in range(2):  # the first releases the row; the second finds quarantine empty
        replicating.lite.execute("UPDATE item SET qty = ? WHERE id = 3", (n,))
        carried(applier)
    replicating.assert_same()
    replicating.lite.execute("UPDATE item SET qty = 99")
    assert carried(applier) == 5
    assert small.carried == [1, 5]
    replicating.assert_same()


def test_what_only_the_server_can_tell_takes_the_careful_round(
    replicating: TestPair, small: SmallRounds
) -> None:
    """A text too long for PostgreSQL's index: one row is set aside, the other arrives."""
    applier = resumable(replicating)
    in_one(
        replicating,
        [
            "UPDATE item SET name = lower(hex(randomblob(9000))) WHERE id = 1",
            "UPDATE item SET qty = 77 WHERE id = 2",
        ],
    )
    assert carried(applier) == 2
    assert (small.tried, small.carried) == (1, [])
    assert replicating.pg.execute("SELECT tbl, k FROM st_quarantine").fetchall() == [("item", "1")]
    assert replicating.pg.execute("SELECT qty FROM item WHERE id = 2").fetchone() == (77,)


def test_a_key_that_cannot_be_looked_up_takes_an_ordinary_round(
    replicating: TestPair, small: SmallRounds
) -> None:
    applier = resumable(replicating)
    replicating.lite.execute("INSERT INTO pairkey VALUES (1.5, 'a', 'x')")
    carried(applier)
    assert small.outcomes == [None]
    replicating.lite.execute("DELETE FROM pairkey WHERE a = 1.5")
    for _ in range(2):
        carried(applier)
    replicating.assert_same()


def test_paused_after_the_last_round(replicating: TestPair, small: SmallRounds) -> None:
    applier = resumable(replicating)
    replicating.pg.execute("UPDATE st_control SET paused = true")
    replicating.lite.execute("UPDATE item SET qty = 5")
    before = replicating.contents(Side.POSTGRES)
    assert applier.round() == Skipped("paused")
    assert replicating.contents(Side.POSTGRES) == before
    replicating.pg.execute("UPDATE st_control SET paused = false")
    assert carried(applier) == 5
    replicating.assert_same()


def test_a_pair_prepared_before_there_were_small_rounds(replicating: TestPair, small: SmallRounds) -> None:
    replicating.pg.execute("DROP FUNCTION st_resume_round")
    applier = replicating.new_applier()
    for n in range(8):
        replicating.lite.execute("UPDATE item SET qty = ?", (n,))
        replicating.lite.execute("UPDATE pairkey SET v = ?", (str(n),))
        assert carried(applier) == 9
    assert small.overtaken >= 1
    assert small.carried == []
    replicating.assert_same()


def _quarantine(pair: TestPair) -> None:
    pair.pg.execute(
        "INSERT INTO st_quarantine (tbl, k, col, reason, content, at) VALUES ('x', '1', '', '', '', 0)"
    )


def _announce(pair: TestPair) -> None:
    pair.pg.execute("INSERT INTO st_pending (tbl, k, token) VALUES ('item', '4', '0')")


def _control(assignment: str) -> Callable[[TestPair], object]:
    return lambda pair: pair.pg.execute(f"UPDATE st_control SET {assignment}".encode())


MEANWHILE: dict[str, Callable[[TestPair], object]] = {
    "position": lambda pair: pair.pg.execute("UPDATE st_watermark SET position = '0'"),
    "pair": _control("pair = 'another'"),
    "epoch": _control("epoch = epoch + 2"),
    "primary": _control("primary_side = 'postgres'"),
    "phase": _control("phase = 'completing'"),
    "paused": _control("paused = true"),
    "quarantine": _quarantine,
    "announced": _announce,
}


@pytest.mark.parametrize("what", MEANWHILE)
def test_each_thing_that_a_small_round_compares(
    replicating: TestPair, small: SmallRounds, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """It changes between the reading and the sending; nothing is written on what was read."""
    applier = resumable(replicating)
    replicating.lite.execute("UPDATE item SET qty = 5")
    before = replicating.contents(Side.POSTGRES)
    monkeypatch.setattr(Applier, "_round", lambda *arguments, **options: Skipped("looked at"))
    with arm(Failpoint.APPLY_READ, lambda: MEANWHILE[what](replicating) and None):
        assert applier.round() == Skipped("looked at")
    assert small.outcomes == [None]
    assert replicating.contents(Side.POSTGRES) == before


def test_a_record_of_another_epoch_stops_the_ordinary_round_too(
    replicating: TestPair, small: SmallRounds
) -> None:
    applier = resumable(replicating)
    replicating.lite.execute("UPDATE item SET qty = 5")
    with (
        arm(Failpoint.APPLY_READ, lambda: _control("epoch = 7")(replicating) and None),
        pytest.raises(NotPrepared),
    ):
        applier.round()
    assert small.outcomes == [None]


def test_the_connection_is_lost_before_the_commit(replicating: TestPair, small: SmallRounds) -> None:
    applier = resumable(replicating)
    replicating.lite.execute("UPDATE item SET qty = qty + 1")
    before = replicating.contents(Side.POSTGRES)
    with (
        arm(Failpoint.APPLY_BEFORE_COMMIT, _cut(replicating, applier)),
        pytest.raises(psycopg.OperationalError),
    ):
        applier.round()
    assert (small.tried, small.carried) == (1, [])
    assert replicating.contents(Side.POSTGRES) == before
    assert carried(applier) == 5
    replicating.assert_same()


def test_the_acknowledgement_is_lost(replicating: TestPair, small: SmallRounds) -> None:
    """The round is durable, the applier does not know: it asks again and finds nothing to do."""
    applier = resumable(replicating)
    replicating.lite.execute("UPDATE item SET qty = qty + 1")
    cut = _cut(replicating, applier)

    def lose() -> None:
        cut()
        raise FailpointError

    with arm(Failpoint.APPLY_AFTER_COMMIT, lose), pytest.raises(FailpointError):
        applier.round()
    assert (small.tried, small.carried) == (1, [])
    replicating.assert_same()
    changes = replicating.pg.execute("SELECT changes FROM st_watermark").fetchone()
    with pytest.raises(psycopg.OperationalError):
        applier.round()
    assert carried(applier) == 0
    assert replicating.pg.execute("SELECT changes FROM st_watermark").fetchone() == changes
    replicating.assert_same()


def _cut(pair: TestPair, applier: Applier) -> Callable[[], None]:
    pid = applier.stores.postgres.connection.info.backend_pid

    def cut() -> None:
        pair.pg.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))

    return cut


@pytest.mark.parametrize("point", [Failpoint.APPLY_READ, Failpoint.APPLY_BEFORE_COMMIT])
def test_a_small_round_that_fails_leaves_nothing(
    replicating: TestPair, small: SmallRounds, point: Failpoint
) -> None:
    applier = resumable(replicating)
    replicating.lite.execute("UPDATE item SET qty = qty + 1")
    before = replicating.contents(Side.POSTGRES)
    with arm(point, "raise"), pytest.raises(FailpointError):
        applier.round()
    assert (small.tried, small.carried) == (1, [])
    assert replicating.contents(Side.POSTGRES) == before
    assert carried(applier) == 5
    replicating.assert_same()


def test_an_error_of_our_own_between_two_tables_leaves_nothing(
    replicating: TestPair, small: SmallRounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first table got must not be committed without the second and the watermark."""
    applier = resumable(replicating)
    in_one(replicating, CHANGES["several_tables"])
    before = replicating.contents(Side.POSTGRES)
    original = PostgresTarget.replace

    def fails(target: PostgresTarget, table: Table, *rest: Any) -> int:
        if table.name == "owner":
            raise UnicodeError("a bug")
        return original(target, table, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(PostgresTarget, "replace", fails)
        with pytest.raises(UnicodeError):
            applier.round()
    assert (small.tried, small.carried) == (1, [])
    assert replicating.contents(Side.POSTGRES) == before
    assert carried(applier) > 0
    replicating.assert_same()
