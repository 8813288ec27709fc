"""The way to PostgreSQL is cut, reset, stalled, slow, frozen or closed; and an acknowledgement gets lost on it.

As shadow PostgreSQL may be away for any time: commits go on, the first within the time-out, the others
without waiting, and the log drains by itself. As primary a request ends with an error that tells.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

import psycopg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import DBAPIError, OperationalError

from app.db.common.errors import ShadowUnavailable, SwitchError
from app.db.common.failpoints import Failpoint, arm
from app.db.common.settings import load_settings
from app.db.common.urls import Side
from app.db.session import engines
from app.db.session.replicator import follower as replicator
from app.db.sides.postgres import forms
from app.db.sides.postgres.store import PostgresStore
from app.db.switch.coordinator import Aborted, Moved
from app.db.switch.recover import Recovered
from loadtests.stage.embedded import EmbeddedPostgres
from migration.fill.backfill import Backfill
from tests.core.outage.proxy import Mode, Proxy
from tests.core.outage.through_proxy import Through, names, settled, write
from tests.support.backends import MakeRuntime
from tests.support.pairs import TestPair, wait_until

TIMEOUT_MS = 1_500


def _refuse(proxy: Proxy, how: Callable[[], None]) -> None:
    proxy.mode = Mode.REFUSE
    how()


def _freeze(proxy: Proxy) -> None:
    proxy.mode = Mode.STALL
    proxy.forget()


FAULTS: dict[str, Callable[[Proxy], None]] = {
    "cut": lambda proxy: _refuse(proxy, proxy.cut),
    "reset": lambda proxy: _refuse(proxy, proxy.reset),
    "stalled": lambda proxy: setattr(proxy, "mode", Mode.STALL),
    "slow": lambda proxy: setattr(proxy, "mode", Mode.SLOW),
    "frozen": _freeze,
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_commits_go_on_while_the_shadow_is_out_of_reach_and_the_log_drains_by_itself(
    replicating: TestPair,
    through: Through,
    proxy: Proxy,
    backend: MakeRuntime,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    fault: str,
) -> None:
    monkeypatch.setattr(replicator, "SILENCE_LIMIT_S", 2.0)
    current = backend(through(replicating), dual_write=mode, dual_write_timeout_ms=TIMEOUT_MS)
    write("before")
    proxy._delay_s = 0.8  # a round takes longer than the time-out
    FAULTS[fault](proxy)
    first = write("first")
    assert first < TIMEOUT_MS / 1000 + 1.5
    started = time.monotonic()
    for n in range(20):
        write(f"away {n:02d}")
    assert time.monotonic() - started < TIMEOUT_MS / 1000, "a later commit waited, too"
    assert current.replicator.health().degraded is (mode == "sync")
    proxy.mode = Mode.PASS
    settled(current, replicating, "away 19")


def test_a_stalled_round_goes_on_where_it_was_when_the_way_is_free_again(
    replicating: TestPair, through: Through, proxy: Proxy, backend: MakeRuntime
) -> None:
    """No reconnect is needed: the bytes were held, not lost."""
    current = backend(through(replicating), dual_write_timeout_ms=300)
    write("before")
    with arm(Failpoint.APPLY_READ, lambda: setattr(proxy, "mode", Mode.STALL)):
        write("stalled")
    assert current.replicator.health().degraded
    proxy.mode = Mode.PASS
    settled(current, replicating, "stalled")


def test_strict_rolls_back_and_says_so_when_the_shadow_stalls(
    replicating: TestPair,
    through: Through,
    proxy: Proxy,
    backend: MakeRuntime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.db.session.strict.SILENCE_S", 1.0)
    current = backend(through(replicating), dual_write="strict")
    write("before")
    proxy.mode = Mode.STALL
    with pytest.raises(ShadowUnavailable):
        write("refused")
    proxy.mode = Mode.PASS
    write("after")
    settled(current, replicating, "after")
    assert "refused" not in names(replicating, Side.SQLITE)


@pytest.mark.parametrize("fault", ["cut", "reset", "stalled"])
def test_as_primary_a_request_ends_with_an_error_and_the_next_one_works(
    promoted: TestPair,
    through: Through,
    proxy: Proxy,
    backend: MakeRuntime,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    """Nothing is taken on SQLite in its place; nothing of the failed request is there afterwards."""
    monkeypatch.setattr(engines, "SILENCE_S", 1.0)
    current = backend(
        through(promoted), wanted=Side.POSTGRES, pg_statement_timeout_ms=1_000, pg_connect_timeout_s=2
    )
    write("before")
    FAULTS[fault](proxy)
    started = time.monotonic()
    with pytest.raises(DBAPIError):
        write("while away")
    assert time.monotonic() - started < 12
    proxy.mode = Mode.PASS
    wait_until(lambda: _written("after"), seconds=40)
    settled(current, promoted, "after")
    assert "while away" not in names(promoted, Side.POSTGRES)
    assert promoted.writable_sides() == {Side.POSTGRES}


def _written(name: str) -> bool:
    try:
        write(name)
    except DBAPIError:
        return False
    return True


def test_the_application_s_own_lost_acknowledgement_is_one_effect(
    promoted: TestPair, through: Through, proxy: Proxy, backend: MakeRuntime
) -> None:
    """The caller gets an error and cannot know; the row is there once, on both sides."""
    current = backend(through(promoted), wanted=Side.POSTGRES)
    write("before")
    proxy.lose_commit("sigmatrader")
    with pytest.raises(DBAPIError):
        write("perhaps")
    assert proxy.lost.is_set()
    write("after")
    settled(current, promoted, "after")
    assert names(promoted, Side.POSTGRES).count("perhaps") == 1


def _applied(pair: TestPair) -> int:
    return int(pair.pg.execute("SELECT changes FROM st_watermark").fetchone()[0])


def test_apply_s_acknowledgement_is_lost(replicating: TestPair, through: Through, proxy: Proxy) -> None:
    applier = through(replicating).applier
    applier.drain()
    replicating.lite.execute("UPDATE item SET qty = qty + 1")
    before = _applied(replicating)
    with arm(Failpoint.APPLY_BEFORE_COMMIT, proxy.lose_commit), pytest.raises(psycopg.OperationalError):
        applier.round()
    assert proxy.lost.is_set()
    after = _applied(replicating)
    assert after > before
    assert applier.drain().changes == 0
    assert _applied(replicating) == after
    replicating.assert_same()


def test_a_copied_chunk_s_acknowledgement_is_lost(copying: TestPair, through: Through, proxy: Proxy) -> None:
    applier = through(copying).applier
    with arm(Failpoint.COPY_BEFORE_COMMIT, proxy.lose_commit), pytest.raises(psycopg.OperationalError):
        Backfill(applier, chunk_rows=2).run()
    assert proxy.lost.is_set()
    Backfill(applier, chunk_rows=2).run()
    copying.drain()
    copying.assert_same()


def test_the_commit_record_s_acknowledgement_is_lost(
    pair: TestPair, primary: Side, through: Through, proxy: Proxy
) -> None:
    """The coordinator asks the record, and has moved: once."""
    epoch = pair.epochs()[0]
    applier = through(pair).applier
    with arm(Failpoint.SWITCH_COMMITTING, proxy.lose_commit):
        outcome = pair.move(primary.other, applier=applier)
    assert proxy.lost.is_set()
    assert isinstance(outcome, Moved), outcome
    assert pair.epochs() == (epoch + 1, epoch + 1)
    assert pair.writable_sides() == {primary.other}
    pair.assert_same()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ST_PG_CONNECT_TIMEOUT_S", "2")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("point", [Failpoint.SWITCH_FENCED, Failpoint.SWITCH_DRAINED])
def test_a_stall_inside_the_fence_does_not_hold_writers_for_as_long_as_it_lasts(
    replicating: TestPair, through: Through, proxy: Proxy, point: Failpoint
) -> None:
    """The coordinator gives the silent connection up and releases SQLite alone."""
    applier = through(replicating).applier
    started = time.monotonic()
    with arm(point, lambda: setattr(proxy, "mode", Mode.STALL)):
        outcome = replicating.move(Side.POSTGRES, max_pause_ms=500, applier=applier)
    assert isinstance(outcome, Aborted), outcome
    assert outcome.retryable
    assert time.monotonic() - started < 10
    replicating.lite.execute("UPDATE item SET qty = qty + 1")
    proxy.mode = Mode.PASS
    replicating.expire_attempt()
    wait_until(lambda: replicating.recover() in ("attempt_ended", "nothing_to_do"))
    replicating.moved(Side.POSTGRES)
    replicating.assert_same()


@pytest.mark.usefixtures("impatient")
def test_a_stall_at_the_commit_record_is_decided_by_the_record(
    replicating: TestPair, through: Through, proxy: Proxy
) -> None:
    """Writers stay held, because nobody can know; when the way is free the record says that it did not happen."""
    applier = through(replicating).applier
    with (
        arm(Failpoint.SWITCH_COMMITTING, lambda: setattr(proxy, "mode", Mode.STALL)),
        pytest.raises(SwitchError, match="outcome is unknown"),
    ):
        replicating.move(Side.POSTGRES, max_pause_ms=500, applier=applier)
    assert replicating.lite.execute("SELECT writable FROM st_control").fetchone()[0] == 0
    proxy.mode = Mode.PASS
    replicating.expire_attempt()
    assert replicating.recover() is Recovered.ENDED
    assert replicating.writable_sides() == {Side.SQLITE}
    replicating.moved(Side.POSTGRES)
    replicating.assert_same()


def test_a_host_that_is_gone_is_noticed_by_the_kernel(replicating: TestPair, backend: MakeRuntime) -> None:
    """Every connection asks the peer for a sign of life and gives up on unanswered bytes."""
    current = backend(replicating)
    store = PostgresStore(replicating.pair.postgres, load_settings())
    raw = current.engine(Side.POSTGRES).raw_connection()
    try:
        for fd in (store.connection.fileno(), raw.driver_connection.fileno()):
            with socket.socket(fileno=os.dup(fd)) as sock:
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 25_000
    finally:
        raw.close()
        store.close()


def test_the_server_is_not_asked_for_each_transaction_and_an_ended_connection_is_noticed(
    postgres_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check before use looks at the socket."""
    asked: list[object] = []
    ask = PGDialect_psycopg.do_ping
    monkeypatch.setattr(
        PGDialect_psycopg, "do_ping", lambda dialect, raw: asked.append(raw) or ask(dialect, raw)
    )
    engine = engines.make_engine(make_url(postgres_server.url()), load_settings())

    def backend() -> int:
        with engine.connect() as connection:
            return int(connection.scalar(text("SELECT pg_backend_pid()")) or 0)

    try:
        first = backend()
        assert {backend() for _ in range(5)} == {first}
        assert len(asked) == 1
        with psycopg.connect(postgres_server.dsn(), autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 10000)", (first,))
        assert backend() != first
    finally:
        engine.dispose()


def test_what_a_pooler_refuses_at_the_beginning_has_a_name_that_is_answered(
    postgres_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver's own error would be a 500; while nobody leads, a pooler refuses each transaction there."""
    monkeypatch.setenv("ST_PG_POOLER", "transaction")
    monkeypatch.setattr(forms, "SET_LOCAL", "SELECT pg_terminate_backend(pg_backend_pid())")
    engine = engines.make_engine(make_url(postgres_server.url()), load_settings())
    with engine.connect() as connection, pytest.raises(OperationalError):
        connection.execute(text("SELECT 1"))
    engine.dispose()
