"""Recorded sequences: one backend per database gives the same answers and leaves the same rows."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.db.common.settings import ShimSettings
from app.db.common.urls import Side
from app.db.session.runtime import make_runtime
from app.db.switch.coordinator import Moved
from app.native import branch
from tests.backend.differential.backends import Backend, Call, Clock, Different, Twins, stored
from tests.backend.differential.conftest import Dual
from tests.backend.differential.sequences import ALL, Sequence, deliveries, events, orders, play
from tests.core.modes.chosen import ALL as EVERY_MODE

REVISIONS = len(list(branch.scripts().walk_revisions()))  # of the native branch
SOME = (orders, deliveries, events)  # rows with documents, and what an index of the branch serves
ENOUGH = 300  # requests: a sequence that ends early must not pass for agreement


@pytest.mark.parametrize("sequence", ALL, ids=lambda sequence: sequence.__name__)
def test_both_databases_answer_alike(
    sequence: Callable[[], Sequence], on_sqlite: Backend, on_postgres: Backend, compare: Callable[..., Twins]
) -> None:
    twins = compare(on_sqlite, on_postgres)
    play([sequence], twins)
    assert twins.statuses
    assert on_sqlite.engine and on_postgres.engine
    assert stored(on_sqlite.engine) == stored(on_postgres.engine)


def test_the_native_branch_answers_alike(
    on_sqlite: Backend, on_native: Backend, compare: Callable[..., Twins]
) -> None:
    twins = compare(on_sqlite, on_native)
    play(ALL, twins)
    assert twins.sent > ENOUGH
    assert on_sqlite.engine and on_native.engine
    assert stored(on_sqlite.engine) == stored(on_native.engine)


def test_nobody_notices_the_native_branch_come_and_go(
    on_sqlite: Backend, on_native: Backend, compare: Callable[..., Twins]
) -> None:
    """Down and up again, twice, between two requests of a process that goes on; its data stays."""
    twins = compare(on_sqlite, on_native)
    assert on_sqlite.engine and on_native.engine
    alone = make_runtime(on_native.engine.url.render_as_string(hide_password=False), ShimSettings())
    changes = {15: branch.downgrade, 35: branch.upgrade, 55: branch.downgrade, 75: branch.upgrade}

    def send(call: Call) -> object:
        if (change := changes.pop(twins.sent, None)) is not None:
            assert len(change(alone, **({"keep": True} if change is branch.upgrade else {}))) == REVISIONS
        return twins(call)

    play(ALL if EVERY_MODE else SOME, send)
    assert not changes
    assert stored(on_sqlite.engine) == stored(on_native.engine)


@pytest.mark.parametrize("switches", [(60, 150, 240), *([(100,), (60, 180)] if EVERY_MODE else [])], ids=str)
def test_nobody_notices_a_switch(
    switches: tuple[int, ...], on_sqlite: Backend, on_both: Dual, compare: Callable[..., Twins]
) -> None:
    """A pair whose primary moves between two requests answers as a backend that stayed on SQLite."""
    twins = compare(on_sqlite, on_both.backend)
    primary = Side.SQLITE

    def send(call: Call) -> object:
        nonlocal primary
        if twins.sent in switches:
            primary = primary.other
            assert isinstance(on_both.pair.move(primary), Moved)
        return twins(call)

    play(ALL, send)
    assert twins.sent > ENOUGH
    on_both.pair.drain()
    assert on_sqlite.engine
    expected = stored(on_sqlite.engine)
    assert stored(on_both.engine(Side.SQLITE)) == expected
    assert stored(on_both.engine(Side.POSTGRES)) == expected


def test_a_difference_is_seen(
    on_sqlite: Backend, on_postgres: Backend, compare: Callable[..., Twins], clock: Clock
) -> None:
    """The comparison is no formality: one changed row is enough."""
    twins = compare(on_sqlite, on_postgres)
    assert on_postgres.engine
    with on_postgres.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE strategies SET name = 'other' WHERE id = (SELECT max(id) FROM strategies)"
        )
    with pytest.raises(Different, match="PostgreSQL: "):
        twins(Call("GET", "/api/strategies/"))
