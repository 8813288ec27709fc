"""A round that meets a switch between its commit record and SQLite's following keeps no position of the other side.

A position is a log number on SQLite and a snapshot on PostgreSQL. Where the record is written and SQLite does
not follow yet, the round has read the old shadow's position. Asked of the new primary, that is an error.
"""

from __future__ import annotations

from app.db.apply.outcome import Round, Skipped
from app.db.common.errors import NotPrepared
from app.db.common.failpoints import Failpoint, arm
from app.db.common.urls import Side
from tests.support.pairs import TestPair


def test_round_between_the_record_and_the_following_then_news(pair: TestPair, primary: Side) -> None:
    applier = pair.new_applier()
    pair.app(primary).execute("UPDATE item SET qty = qty + 1")
    assert isinstance(applier.round(), Round)
    between = []

    def meet() -> None:
        try:
            between.append(applier.round())
        except NotPrepared as disagreement:  # SQLite is the shadow and does not follow yet
            between.append(disagreement)

    with arm(Failpoint.SWITCH_COMMITTED, meet):
        pair.moved(primary.other)
    assert isinstance(between[0], Skipped if primary is Side.SQLITE else NotPrepared)
    pair.app(primary.other).execute("UPDATE item SET qty = qty + 1")
    assert applier.has_news()
    assert isinstance(applier.round(), Round)
