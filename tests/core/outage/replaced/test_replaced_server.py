"""An older copy of the PostgreSQL database is put back in mid-move: it is not taken for the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import psycopg
import pytest

from app.db.apply.trim import trim
from app.db.common.errors import NotPrepared
from app.db.common.urls import Side
from app.db.switch.recover import Recovered
from app.db.switch.state.checks import Checks
from migration.verify.run import Verify
from migration.watch.status import blocks, gather, next_command
from tests.support.fixtures import Templates
from tests.support.pairs import PlainTables, TestPair

PutBack = Callable[[TestPair], AbstractContextManager[None]]


@pytest.fixture
def put_back(templates: Templates) -> PutBack:
    """What happens inside is forgotten by PostgreSQL: a copy of its files, made before, stands in their place then."""

    @contextmanager
    def kept(pair: TestPair) -> Iterator[None]:
        name = str(pair.pair.postgres.database)
        pair.close()
        with psycopg.connect(templates.server.dsn(), autocommit=True) as server:
            server.execute(f"CREATE DATABASE {name}_old TEMPLATE {name} STRATEGY file_copy".encode())
            yield
            pair.close()
            server.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
            server.execute(f"ALTER DATABASE {name}_old RENAME TO {name}".encode())

    return kept


def refusal(pair: TestPair) -> str:
    """Apply, verify, the gates and status say the same, and nobody is sent on."""
    before = {side: pair.contents(side) for side in Side}
    with pytest.raises(NotPrepared, match="an older copy of the PostgreSQL database was put back"):
        pair.applier.round()
    with pytest.raises(NotPrepared, match="an older copy"):
        Verify(pair.applier).run()
    assert {side: pair.contents(side) for side in Side} == before
    file = next(check for check in Checks(pair.applier.stores, PlainTables()).all() if check.name == "file")
    status = gather(pair.pair, pair.applier.stores, source=PlainTables())
    assert not file.ok and any(file.detail in text for text in blocks(status))
    assert next_command(status) is None
    return file.detail


def test_an_older_shadow_lacks_what_the_log_was_trimmed_of(replicating: TestPair, put_back: PutBack) -> None:
    replicating.lite.execute("INSERT INTO counter (n) VALUES (1)")
    replicating.drain()
    Verify(replicating.applier).run()
    with put_back(replicating):
        for _ in range(2):
            replicating.lite.execute("INSERT INTO owner (name) VALUES (hex(randomblob(9)))")
        replicating.drain()
        Verify(replicating.applier).run()
        replicating.lite.execute("INSERT INTO counter (n) VALUES (2)")
        replicating.drain()
        assert trim(replicating.applier.stores) > 0
    assert "lacks entries" in refusal(replicating)


def test_an_older_shadow_gets_what_the_log_still_has(replicating: TestPair, put_back: PutBack) -> None:
    with put_back(replicating):
        replicating.lite.execute("INSERT INTO counter (n) VALUES (1)")
        replicating.drain()
        trim(replicating.applier.stores)
    replicating.drain()
    replicating.assert_same()


@pytest.mark.parametrize("later", [0, 5], ids=["at_once", "after_new_writes"])
def test_an_older_primary_is_recognised(promoted: TestPair, put_back: PutBack, later: int) -> None:
    """SQLite alone has its newer rows. New writes give out the log's numbers a second time."""
    promoted.pg.execute("INSERT INTO counter (n) VALUES (1)")
    promoted.drain()
    with put_back(promoted):
        promoted.pg.execute("INSERT INTO owner (id, name) VALUES (4711, 'acknowledged')")
        promoted.drain()
        Verify(promoted.applier).run()
        trim(promoted.applier.stores)  # the entry that tells them apart stays
        assert promoted.log_size(Side.POSTGRES) == 1
    for _ in range(later):
        promoted.pg.execute("INSERT INTO counter (n) VALUES (1)")
    assert "entry 2" in refusal(promoted)


@pytest.mark.parametrize("stage", ["replicating", "promoted"])
def test_a_server_that_counts_transactions_anew_is_named_before_a_switch(
    clone: Callable[[str], TestPair], stage: str
) -> None:
    """What pg_restore fills on another server has the rows, but its transactions have numbers that were used before."""
    pair = clone(stage)
    pair.lite.execute("UPDATE st_watermark SET position = '4000000000:4000000000:'")
    file = next(check for check in Checks(pair.applier.stores, PlainTables()).all() if check.name == "file")
    assert not file.ok and "has seen fewer transactions" in file.detail


def test_an_older_copy_from_before_a_switch_is_no_forced_rollback(
    replicating: TestPair, put_back: PutBack
) -> None:
    with put_back(replicating):
        replicating.moved(Side.POSTGRES)
        replicating.pg.execute("INSERT INTO counter (n) VALUES (1)")
    assert replicating.recover() is Recovered.SUPERSEDED
    assert replicating.writable_sides() == set()
    status = gather(replicating.pair, replicating.applier.stores, source=PlainTables())
    assert blocks(status)[0].startswith(
        "an older copy of the PostgreSQL database was put back, from before epoch 2"
    )
    assert next_command(status) is None
