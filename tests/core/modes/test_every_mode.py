"""The same transactions in every dual-write mode, with either side as primary: all pass, and both sides agree."""

from __future__ import annotations

import random

import pytest

from app.db.common.settings import DualWrite
from app.db.common.urls import Side
from app.db.session import SessionLocal
from app.db.session.runtime import Runtime
from tests.core.modes.chosen import ALL
from tests.core.modes.transactions import TRANSACTIONS
from tests.support.backends import MakeRuntime
from tests.support.contents import difference
from tests.support.pairs import TestPair, wait_until

SEEDS = range(20) if ALL else range(1)
STEPS = 60
AT_ONCE = (DualWrite.SYNC, DualWrite.STRICT)  # the shadow has it when the commit returns

every_mode = pytest.mark.parametrize("mode", list(DualWrite))


def _commit(names: list[str], pair: TestPair, primary: Side, mode: DualWrite, *, keep: bool = True) -> None:
    """One transaction of these kinds, and what must be so right after it."""
    with SessionLocal() as session:
        for name in names:
            TRANSACTIONS[name](session, primary)
        if keep:
            session.commit()
        else:
            session.rollback()
    if mode in AT_ONCE:
        assert difference(pair.contents(primary), pair.contents(primary.other)) == {}, names


def _settled(current: Runtime, pair: TestPair, primary: Side, mode: DualWrite) -> None:
    """What must be so in the end, in any mode."""
    if mode is DualWrite.ASYNC:
        wait_until(lambda: difference(pair.contents(primary), pair.contents(primary.other)) == {})
    pair.drain()
    pair.assert_same()
    assert pair.app(primary.other).execute("SELECT tbl, k FROM st_pending").fetchall() == []
    assert not current.replicator.health().degraded


@every_mode
def test_every_kind_of_transaction(
    pair: TestPair, primary: Side, mode: DualWrite, backend: MakeRuntime
) -> None:
    current = backend(pair, wanted=primary, dual_write=mode)
    for name in TRANSACTIONS:
        _commit([name], pair, primary, mode)
        _commit([name], pair, primary, mode, keep=False)
    _settled(current, pair, primary, mode)


@every_mode
@pytest.mark.parametrize("name", ["orm_change", "orm_delete"])
def test_sql_takes_rows_that_the_session_has_changed(
    pair: TestPair, primary: Side, mode: DualWrite, name: str, backend: MakeRuntime
) -> None:
    """Any order of the kinds is an application's: none of them may break another one's flush."""
    current = backend(pair, wanted=primary, dual_write=mode)
    _commit(["key_moves_and_children"], pair, primary, mode)  # one owner has all pets: that one goes
    _commit([name, "cascade_deletes_only"], pair, primary, mode)
    _settled(current, pair, primary, mode)


@every_mode
@pytest.mark.parametrize("seed", SEEDS)
def test_random_transactions(
    pair: TestPair, primary: Side, mode: DualWrite, seed: int, backend: MakeRuntime
) -> None:
    """Several kinds in one transaction, a part of them rolled back."""
    current = backend(pair, wanted=primary, dual_write=mode)
    draw = random.Random(seed)
    for _ in range(STEPS if ALL else STEPS // 3):
        names = draw.sample(sorted(TRANSACTIONS), draw.randint(1, 4))
        _commit(names, pair, primary, mode, keep=draw.random() < 0.85)
    _settled(current, pair, primary, mode)


@every_mode
def test_there_and_back_between_transactions(
    pair: TestPair, primary: Side, mode: DualWrite, backend: MakeRuntime
) -> None:
    """The same process serves on one side, then on the other, then on the first again."""
    current = backend(pair, wanted=primary, dual_write=mode, cutover_hold_ms=20_000)
    names = sorted(TRANSACTIONS)
    for side in (primary, primary.other, primary):
        if current.primary() is not side:
            pair.moved(side)
        for n in range(0, len(names), 4):
            _commit(names[n : n + 4], pair, side, mode)
        wait_until(lambda: not current.replicator.health().degraded)
    _settled(current, pair, primary, mode)
