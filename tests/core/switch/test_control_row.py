"""A caller that is behind changes nothing on either control row."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from app.db.common.errors import NotPrepared, StaleAttempt
from app.db.common.urls import Side
from app.db.sides import control
from app.db.sides.phase import Phase
from tests.support.pairs import TestPair

Call = Callable[[TestPair, int], object]


def _begin(pair: TestPair, epoch: int, **options: Any) -> bool:
    seen = replace(control.postgres_control(pair.pg), epoch=epoch)
    options = {"phase": Phase.REPLICATING, "seconds": 60.0, "note": "test", **options}
    return control.begin_attempt(pair.pg, seen, "mine", **options)


STALE: dict[str, Call] = {
    "begin_at_another_epoch": lambda pair, epoch: _begin(pair, epoch + 1),
    "begin_in_another_phase": lambda pair, epoch: _begin(pair, epoch, phase=Phase.COPYING),
    "fence_sqlite": lambda pair, epoch: control.fence_sqlite(pair.lite, "mine", epoch - 1, 0.0),
    "fence_postgres": lambda pair, epoch: control.fence_postgres(pair.pg, "other", epoch),
    "renew_sqlite": lambda pair, epoch: control.renew_sqlite(pair.lite, "other", 1e12),
    "renew_postgres": lambda pair, epoch: control.renew_postgres(pair.pg, "other", 1e6),
    "mark_committing": lambda pair, epoch: control.mark_committing(pair.lite, "other"),
    "promote": lambda pair, epoch: control.promote(pair.pg, Side.POSTGRES, "other", epoch),
    "end_postgres": lambda pair, epoch: control.end_postgres(pair.pg, "other") is not None,
    "release_sqlite": lambda pair, epoch: control.release_sqlite(pair.lite, "other"),
    "set_primary_sqlite": lambda pair, epoch: control.set_primary_sqlite(
        pair.lite, replace(control.sqlite_control(pair.lite), epoch=epoch - 1), Side.POSTGRES, epoch
    ),
    "supersede": lambda pair, epoch: control.supersede(
        pair.pg, control.postgres_control(pair.pg).pair, epoch
    ),
    "pause_sqlite": lambda pair, epoch: control.pause_sqlite(pair.lite, "another pair", True),
    "pause_postgres": lambda pair, epoch: control.pause_postgres(pair.pg, "another pair", True),
    "note_ending": lambda pair, epoch: control.note_ending(pair.pg, epoch, "a plan"),
}


def _rows(pair: TestPair) -> tuple[control.Control, control.Control]:
    return control.sqlite_control(pair.lite), control.postgres_control(pair.pg)


@pytest.mark.parametrize("call", STALE.values(), ids=STALE)
def test_who_is_behind_changes_nothing(call: Call, replicating: TestPair) -> None:
    before = _rows(replicating)
    assert not call(replicating, before[1].epoch)
    assert _rows(replicating) == before


MINE = "attempt = 'mine', attempt_state = 'draining'"
NOT_FENCED, FENCED = f"{MINE}, writable = true", f"{MINE}, writable = false"
# The row is as the caller believes but for one thing, each time another one.
BUT_FOR_ONE_THING: dict[str, tuple[Side, str, Call]] = {
    "begin_for_another_primary": (
        Side.POSTGRES,
        "primary_side = 'postgres'",
        lambda pair, epoch: control.begin_attempt(
            pair.pg, replace(control.postgres_control(pair.pg), primary=Side.SQLITE), "mine",
            phase=Phase.REPLICATING, seconds=60.0, note="test",
        ),
    ),
    "fence_sqlite_beside_an_attempt": (
        Side.SQLITE, "attempt = 'other'", lambda pair, epoch: control.fence_sqlite(pair.lite, "mine", epoch, 0.0)
    ),
    "fence_sqlite_again": (
        Side.SQLITE, "writable = false", lambda pair, epoch: control.fence_sqlite(pair.lite, "mine", epoch, 0.0)
    ),
    "fence_postgres_at_another_epoch": (
        Side.POSTGRES, NOT_FENCED, lambda pair, epoch: control.fence_postgres(pair.pg, "mine", epoch - 1)
    ),
    "fence_postgres_again": (
        Side.POSTGRES, FENCED, lambda pair, epoch: control.fence_postgres(pair.pg, "mine", epoch)
    ),
    "promote_at_another_epoch": (
        Side.POSTGRES, FENCED, lambda pair, epoch: control.promote(pair.pg, Side.POSTGRES, "mine", epoch - 1)
    ),
    "promote_without_a_fence": (
        Side.POSTGRES, NOT_FENCED, lambda pair, epoch: control.promote(pair.pg, Side.SQLITE, "mine", epoch)
    ),
    "release_once_committing": (
        Side.SQLITE,
        "attempt = 'mine', attempt_state = 'committing', writable = false",
        lambda pair, epoch: control.release_sqlite(pair.lite, "mine"),
    ),
    "set_primary_of_another_pair": (
        Side.SQLITE,
        "pair = 'another'",
        lambda pair, epoch: control.set_primary_sqlite(
            pair.lite, replace(control.sqlite_control(pair.lite), pair="mine"), Side.POSTGRES, epoch + 1
        ),
    ),
    "supersede_another_pair": (
        Side.POSTGRES, "writable = true", lambda pair, epoch: control.supersede(pair.pg, "another", epoch + 1)
    ),
    "supersede_again": (
        Side.POSTGRES,
        "writable = false, note = 'superseded'",
        lambda pair, epoch: control.supersede(pair.pg, control.postgres_control(pair.pg).pair, epoch + 1),
    ),
    "second_sqlite_at_another_epoch": (
        Side.SQLITE, "writable = true", lambda pair, epoch: control.fence_second_sqlite(pair.lite, epoch + 1)
    ),
    "second_sqlite_in_an_attempt": (
        Side.SQLITE, NOT_FENCED, lambda pair, epoch: control.fence_second_sqlite(pair.lite, epoch)
    ),
    "second_postgres_at_another_epoch": (
        Side.POSTGRES, "writable = true", lambda pair, epoch: control.fence_second_postgres(pair.pg, epoch + 1)
    ),
    "second_postgres_that_is_primary": (
        Side.POSTGRES,
        "writable = true, primary_side = 'postgres'",
        lambda pair, epoch: control.fence_second_postgres(pair.pg, epoch),
    ),
    "second_postgres_in_an_attempt": (
        Side.POSTGRES, NOT_FENCED, lambda pair, epoch: control.fence_second_postgres(pair.pg, epoch)
    ),
    "note_ending_at_another_epoch": (
        Side.POSTGRES, "phase = 'completing'", lambda pair, epoch: control.note_ending(pair.pg, epoch + 1, "a plan")
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BUT_FOR_ONE_THING.values(), ids=BUT_FOR_ONE_THING)
def test_each_thing_that_a_caller_believes_counts(
    case: tuple[Side, str, Call], replicating: TestPair
) -> None:
    side, assignments, call = case
    replicating.app(side).execute(f"UPDATE st_control SET {assignments}")
    before = _rows(replicating)
    assert not call(replicating, before[1].epoch)
    assert _rows(replicating) == before


def test_a_phase_or_a_mark_of_another_epoch_is_refused(replicating: TestPair) -> None:
    before = _rows(replicating)
    moves = [(Phase.COPYING, Phase.COMPLETING, 0), (Phase.REPLICATING, Phase.COMPLETING, 1)]
    for frm, to, ahead in moves:
        with pytest.raises(StaleAttempt):
            control.advance(replicating.pg, frm, to, before[1].epoch + ahead)
    with pytest.raises(StaleAttempt):
        control.set_migrating_sqlite(replicating.lite, before[0].epoch + 1, True)
    assert _rows(replicating) == before
    assert replicating.lite.execute("SELECT applying FROM st_control").fetchone() == (0,)


def test_a_second_side_is_fenced_with_a_mark_that_was_committed(replicating: TestPair) -> None:
    replicating.lite.execute("UPDATE st_control SET applying = 2")
    assert control.fence_second_sqlite(replicating.lite, replicating.epochs()[0])
    assert not control.sqlite_is_open(replicating.lite)
    assert replicating.lite.execute("SELECT writable, applying FROM st_control").fetchone() == (0, 0)


def test_a_transaction_of_our_own_opens_the_fence_of_its_epoch_only(replicating: TestPair) -> None:
    with pytest.raises(StaleAttempt):
        control.open_fence_sqlite(replicating.lite, 7, writable=False)
    with pytest.raises(StaleAttempt):
        control.open_fence_postgres(replicating.pg, 7, writable=True)
    assert replicating.writable_sides() == {Side.SQLITE}


def test_an_attempt_under_way_lets_no_other_begin(replicating: TestPair) -> None:
    epoch = replicating.epochs()[1]
    assert _begin(replicating, epoch)
    assert not _begin(replicating, epoch)


def test_sqlite_holds_no_phase_in_pairs_of_every_version() -> None:
    """The word in SQLite's row never was a phase; a pair that an earlier version prepared reads the same."""
    row = ("a pair", "sqlite", 1, "prepared", 1, 0, None, None, None, "journal_mode=delete")
    assert control.control_from_row(row).phase is None
    with pytest.raises(NotPrepared, match="no phase unheard-of"):
        control.control_from_row((*row[:3], "unheard-of", *row[4:]))


def test_a_file_that_is_locked_is_not_taken_for_one_without_a_row(replicating: TestPair) -> None:
    replicating.lite.execute("PRAGMA locking_mode = EXCLUSIVE")
    replicating.lite.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        control.sqlite_control(replicating.new_lite(timeout=0))
