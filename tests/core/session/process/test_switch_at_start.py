"""Several workers start with ST_CUTOVER=auto: one switches, and the others say so in one line."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from app.db.common.failpoints import Failpoint, arm
from app.db.common.settings import ShimSettings
from app.db.common.urls import Side
from app.db.session.at_start import switch_at_start
from app.db.session.runtime import make_runtime
from app.db.switch import gates, guarded
from app.db.switch.coordinator import Moved
from app.db.switch.recover import Recovered, recover
from migration.verify import state
from tests.support.pairs import TestPair

BY_ANOTHER = ["switched by another process: postgres is primary at epoch 2"]


@pytest.fixture
def start(replicating: TestPair, caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """Starts a worker whose URL names PostgreSQL; returns what it warned of."""
    stores, schema = replicating.applier.stores, replicating.applier.schema()
    state.begin(stores, stores.postgres.read_control(), schema).finish(rows=0, mismatches=0)
    settings = ShimSettings(shadow_database_url=f"sqlite:///{replicating.path}", cutover="auto")
    worker = make_runtime(replicating.url, settings)

    def started() -> list[str]:
        with caplog.at_level(logging.INFO, logger="sigma.db"):
            switch_at_start(worker)
        return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]

    yield started
    worker.stop()


@contextmanager
def _another_at_work(pair: TestPair, may_go_on: threading.Event) -> Iterator[None]:
    """Another worker stands behind its fence within this block, until it may go on."""
    fenced = threading.Event()
    outcomes: list[Any] = []

    def wait() -> None:
        fenced.set()
        assert may_go_on.wait(20)

    other = threading.Thread(target=lambda: outcomes.append(pair.move(Side.POSTGRES, max_pause_ms=20_000)))
    with arm(Failpoint.SWITCH_FENCED, wait):
        other.start()
        assert fenced.wait(20)
        yield
        other.join(20)
    assert [type(outcome) for outcome in outcomes] == [Moved]


def test_who_comes_while_another_switches_waits_for_it(
    replicating: TestPair, start: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = threading.Event()

    def looking(*arguments: Any) -> Recovered:
        found = recover(*arguments)
        if found is Recovered.WAIT:
            looked.set()
        return found

    monkeypatch.setattr(guarded, "recover", looking)
    with _another_at_work(replicating, looked):
        assert start() == BY_ANOTHER


def test_who_asks_the_gates_while_another_switches_is_not_refused(
    replicating: TestPair, start: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = gates.evaluate

    def overtaken(*arguments: Any, **options: Any) -> list[gates.Gate]:
        replicating.moved(Side.POSTGRES)
        return evaluate(*arguments, **options)

    monkeypatch.setattr(gates, "evaluate", overtaken)
    assert start() == BY_ANOTHER


def test_who_asks_the_gates_while_an_attempt_is_on_record_waits_for_it(
    replicating: TestPair, start: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempt begins after this worker's `recover` has found nothing."""
    evaluate = gates.evaluate
    go_on = threading.Event()

    def in_between(*arguments: Any, **options: Any) -> list[gates.Gate]:
        monkeypatch.setattr(gates, "evaluate", evaluate)
        with _another_at_work(replicating, go_on):
            found = evaluate(*arguments, **options)
            go_on.set()
            return found

    original, reached = guarded._reached, []

    def still_sqlite(*arguments: Any) -> guarded.Already | None:
        """The other's commit comes after this worker has looked who is primary."""
        reached.append(original(*arguments))
        return None if len(reached) == 2 else reached[-1]

    monkeypatch.setattr(gates, "evaluate", in_between)
    monkeypatch.setattr(guarded, "_reached", still_sqlite)
    assert start() == BY_ANOTHER


def test_gates_that_nobody_else_closed_are_listed(
    replicating: TestPair, start: Callable[[], list[str]]
) -> None:
    replicating.pg.execute("DELETE FROM st_verify")
    warned = start()
    assert "not switching to postgres: verify: there is no finished verify (run st-migrate verify)" in warned
    assert not set(BY_ANOTHER) & set(warned)
