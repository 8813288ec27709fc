"""A statement that stops halfway (OR FAIL) leaves log entries whose numbers SQLite has not counted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from app.db.apply.outcome import Round
from app.db.apply.round import Applier
from app.db.apply.trim import trim
from app.db.common.urls import Side
from tests.support.pairs import TestPair
from tests.support.small_rounds import SmallRounds, resumable, small_rounds_at_once


@pytest.fixture(autouse=True)
def small() -> Iterator[SmallRounds]:
    with small_rounds_at_once() as seen:
        yield seen


def stop_halfway(pair: TestPair) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        pair.lite.execute("INSERT OR FAIL INTO item (name) VALUES ('fresh'), ('fresher'), ('two'), ('never')")


def counted(pair: TestPair) -> int:
    return int(
        pair.lite.execute("SELECT seq FROM sqlite_sequence WHERE name = 'st_change_log'").fetchone()[0]
    )


def newest(pair: TestPair) -> int:
    return int(pair.lite.execute("SELECT max(seq) FROM st_change_log").fetchone()[0])


@pytest.mark.parametrize("kind", ["small", "ordinary", "of another process"])
def test_they_are_applied_and_their_numbers_are_not_given_out_again(
    replicating: TestPair, kind: str, small: SmallRounds
) -> None:
    other = replicating.new_applier()
    applier = resumable(replicating)
    stop_halfway(replicating)
    assert counted(replicating) < newest(replicating), "SQLite counts at the end of a statement"
    assert applier.has_news()
    if kind == "ordinary":
        applier.forget_resume_point()
    used: Applier = other if kind == "of another process" else applier
    outcome = used.round()
    assert isinstance(outcome, Round) and outcome.changes
    replicating.assert_same()
    assert not used.has_news()
    assert bool(small.carried) == (kind == "small")

    last = newest(replicating)
    replicating.pg.execute("DELETE FROM st_verify")
    while trim(used.stores):
        pass
    assert replicating.log_size(Side.SQLITE) == 1, (
        "the newest entry stays: it tells this file from an older copy"
    )
    replicating.lite.execute("UPDATE item SET qty = 77 WHERE name = 'fresher'")
    assert newest(replicating) > last
    used.round()
    replicating.assert_same()
