"""What meets a switch, or comes to it too late: rounds, the trimming of the log, a coordinator taken for dead.

A position is a log number on SQLite and a snapshot on PostgreSQL. Where the record is written and SQLite does
not follow yet, a round has read the old shadow's position. Asked of the new primary, that is an error.
"""

from __future__ import annotations

import threading

import pytest

from app.db.apply.outcome import Round, Skipped
from app.db.apply.trim import trim
from app.db.common.errors import NotPrepared
from app.db.common.failpoints import Failpoint, arm
from app.db.common.urls import Side
from app.db.session import SessionLocal
from app.db.switch.state.newest import require_newest
from app.db.switch.state.readiness import lag
from migration.verify.run import Verify
from tests.support.backends import MakeRuntime, Owner
from tests.support.pairs import TestPair


def test_round_between_the_record_and_the_following_then_news(pair: TestPair, primary: Side) -> None:
    applier = pair.new_applier()
    pair.app(primary).execute("UPDATE item SET qty = qty + 1")
    assert isinstance(applier.round(), Round)
    between = []

    def meet() -> None:
        applier.forget_resume_point()  # a small round with nothing to carry asks nobody
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


def test_a_switch_compares_what_a_trimmed_log_still_names(pair: TestPair, primary: Side) -> None:
    """Without a verify the log is trimmed to the shadow's position, beyond the one that the comparison begins at."""
    for _ in range(3):
        pair.app(primary).execute("UPDATE item SET qty = qty + 1")
        pair.drain()
    assert trim(pair.applier.stores) > 0
    pair.app(primary).execute("UPDATE item SET qty = qty + 1 WHERE id = 1")
    pair.moved(primary.other)
    pair.assert_same()


def test_the_log_is_kept_from_the_last_verify_on(pair: TestPair, primary: Side) -> None:
    """What the shadow has is not all: a switch compares again every row that was changed since the verify."""
    pair.app(primary).execute("UPDATE item SET qty = qty + 1")
    pair.drain()
    assert Verify(pair.applier).run().clean
    pair.app(primary).execute("UPDATE owner SET name = 'later' WHERE id = 1")
    pair.drain()
    while trim(pair.applier.stores):
        pass
    assert len(pair.logged(primary, "item")) <= 1  # the entry at the verify's own position
    assert pair.logged(primary, "owner") == {(1,)}


def test_what_others_apply_and_trim_meanwhile_makes_no_older_copy(
    replicating: TestPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come between the reading of the shadow's position and that of SQLite's log."""
    stores, applier = replicating.new_stores(), replicating.new_applier()
    source = stores.sqlite.source

    def after_a_trim() -> object:
        monkeypatch.undo()
        for _ in range(3):
            replicating.lite.execute("UPDATE item SET qty = qty + 1")
            applier.round()
        assert trim(applier.stores) > 0
        return source()

    for look in (require_newest, lag):
        monkeypatch.setattr(stores.sqlite, "source", after_a_trim)
        look(stores)


def test_the_log_that_is_trimmed_is_that_of_the_primary_whose_positions_were_read(
    pair: TestPair, primary: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.pg.execute(
        "INSERT INTO st_verify (id, run, epoch, position, started_at, tables, rows, mismatches) "
        "SELECT 1, 'run', epoch, %s, 0, '[]', 0, 0 FROM st_control",
        (pair.applier.stores.store(primary).log_end(),),
    )
    stores = pair.new_stores()
    read = stores.postgres.read_control

    def read_after_a_switch() -> object:
        monkeypatch.undo()
        pair.moved(primary.other)
        return read()

    monkeypatch.setattr(stores.postgres, "read_control", read_after_a_switch)
    assert trim(stores) == 0


def test_a_late_coordinator_settles_nothing_once_others_have_lowered_the_fence(
    pair: TestPair, primary: Side, backend: MakeRuntime
) -> None:
    """What strict mode announces then is of a transaction in flight: its commit would find the shadow behind."""
    backend(pair, dual_write="strict", wanted=primary)
    announced, go_on = threading.Event(), threading.Event()

    def stop() -> None:
        announced.set()
        assert go_on.wait(60)

    def write() -> None:
        with SessionLocal() as session:
            session.add(Owner(id=900, name="announced"))
            session.commit()

    def there() -> bool:
        return bool(pair.app(primary.other).execute("SELECT 1 FROM owner WHERE id = 900").fetchone())

    writer = threading.Thread(target=write)
    with arm(Failpoint.STRICT_ANNOUNCED, stop):
        writer.start()
        assert announced.wait(60)
        assert there()
        pair.new_applier().round(durable=True, even_if_paused=True, settle=True)
        assert there()
        go_on.set()
        writer.join()
