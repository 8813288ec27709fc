"""Settings that a database or a role stores: ours are set in each session, the others are named with what mends them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from app.db.apply.outcome import SWITCHED, Round
from app.db.apply.trim import trim
from app.db.common.errors import ConfigurationError, ShadowUnavailable
from app.db.common.settings import Pooler
from app.db.common.urls import Side
from app.db.session import SessionLocal
from app.db.switch.gates import evaluate
from migration.watch.status import blocks, gather, next_command
from tests.support.backends import MakeRuntime, Owner
from tests.support.pairs import PAUSE_MS, PlainTables, TestPair, wait_until

pooled = pytest.mark.parametrize("pooler", list(Pooler)[:2])


@contextmanager
def stored(pair: TestPair, setting: str) -> Iterator[None]:
    """A setting that each new session of the database begins with."""
    name = pair.pair.postgres.database
    before = pair.new_pg()
    before.execute(f"ALTER DATABASE {name} SET {setting}".encode())
    try:
        yield
    finally:
        before.execute(f"ALTER DATABASE {name} RESET {setting.partition(' ')[0]}".encode())


@pooled
def test_limits_that_suit_requests_end_no_round(replicating: TestPair, pooler: Pooler) -> None:
    replicating.lite.execute("UPDATE item SET note = 'new'")
    replicating.pg.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.12); RETURN NEW; END'"
    )
    replicating.pg.execute(
        "CREATE TRIGGER slow BEFORE INSERT OR UPDATE ON item FOR EACH ROW EXECUTE FUNCTION slow()"
    )
    with stored(replicating, "statement_timeout = 500"), stored(replicating, "transaction_timeout = 500"):
        outcome = replicating.new_applier(pg_pooler=pooler).round()
    assert isinstance(outcome, Round) and outcome.changes == 5


@pooled
def test_a_round_that_waited_behind_a_switch_sees_it_in_any_isolation(
    replicating: TestPair, pooler: Pooler
) -> None:
    outcome: list[object] = []
    with stored(replicating, "default_transaction_isolation = 'repeatable read'"):
        applier = replicating.new_applier(pg_pooler=pooler)
        applier.stores.postgres.connection.execute("SELECT 1")
        with replicating.pg.transaction():
            replicating.pg.execute("SELECT 1 FROM st_watermark FOR UPDATE")
            waiting = threading.Thread(target=lambda: outcome.append(applier.round()))
            waiting.start()
            wait_until(lambda: _waits_for_a_lock(replicating))
            replicating.pg.execute("UPDATE st_control SET primary_side = 'postgres', epoch = epoch + 1")
        waiting.join()
    assert outcome == [SWITCHED]


_TELL = """
CREATE SCHEMA told;
CREATE TABLE told.commits (setting text);
CREATE FUNCTION told.tell() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
$$ BEGIN INSERT INTO told.commits VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER tell AFTER INSERT OR UPDATE ON {} DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION told.tell()
"""


def _trimmed(pair: TestPair) -> None:
    applier = pair.new_applier()
    applier.round()
    trim(applier.stores)


# What is done, on which table its commits are seen, and which of them wait for the disk.
ON_DISK: dict[str, tuple[str, str, str, Callable[[TestPair], object]]] = {
    "a round": ("replicating", "st_watermark", "off", lambda pair: pair.new_applier().round()),
    "a durable round": ("replicating", "st_watermark", "on", lambda pair: pair.new_applier().round(durable=True)),
    "trimming": ("replicating", "st_watermark", "off on", _trimmed),
    "the record of a switch": ("replicating", "st_control", "on", lambda pair: pair.moved(Side.POSTGRES)),
    "setting aside": ("promoted", "st_quarantine", "on", lambda pair: pair.new_applier().round()),
}  # fmt: skip


@pytest.mark.parametrize("case", ON_DISK.values(), ids=ON_DISK)
def test_what_must_outlive_a_crash_waits_for_the_disk(
    clone: Callable[[str], TestPair], case: tuple[str, str, str, Callable[[TestPair], object]]
) -> None:
    """Also where the database says that commits need not wait."""
    stage, table, waits, act = case
    pair = clone(stage)
    if stage == "promoted":
        pair.pg.execute("UPDATE kinds SET f = 'NaN' WHERE id = 1")
    else:
        pair.lite.execute("UPDATE item SET qty = qty + 1")
    pair.pg.execute(_TELL.format(table).encode())
    with stored(pair, "synchronous_commit = off"):
        act(pair)
    seen = [setting for (setting,) in pair.pg.execute("SELECT setting FROM told.commits").fetchall()]
    assert seen[-len(waits.split()) :] == waits.split()


def _waits_for_a_lock(pair: TestPair) -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    return pair.pg.execute(query).fetchone() == (1,)


@pytest.mark.parametrize("path", ["other, public", "nowhere"])
def test_a_search_path_that_leads_elsewhere_is_named(replicating: TestPair, path: str) -> None:
    name = replicating.pair.postgres.database
    replicating.pg.execute("CREATE SCHEMA other")
    with stored(replicating, f"search_path = {path}"), pytest.raises(ConfigurationError) as refused:
        replicating.new_applier().round()
    assert f"search_path = {path} leads elsewhere than to schema public" in refused.value.message
    assert refused.value.hint is not None and f"ALTER DATABASE {name} RESET search_path" in refused.value.hint
    assert f"is stored for database {name}" in refused.value.message


def test_another_schema_of_the_url_may_have_a_move_of_its_own(replicating: TestPair) -> None:
    replicating.pg.execute("CREATE SCHEMA other")
    own = TestPair(replicating.path, f"{replicating.url}?options=-csearch_path%3Dother")
    assert own.new_stores().postgres.connection.execute("SELECT current_schema()").fetchone() == ("other",)
    own.close()


def test_read_only_by_default_is_named_by_apply_gates_and_status(replicating: TestPair) -> None:
    name = replicating.pair.postgres.database
    remedy = f"ALTER DATABASE {name} RESET default_transaction_read_only"
    with stored(replicating, "default_transaction_read_only = on"):
        applier = replicating.new_applier()
        with pytest.raises(ShadowUnavailable, match=f"is stored for database {name}") as refused:
            applier.round()
        gates = evaluate(applier, Side.POSTGRES, max_pause_ms=PAUSE_MS, source=PlainTables())
        status = gather(replicating.pair, applier.stores, source=PlainTables())
    assert refused.value.hint is not None and refused.value.hint.startswith(remedy)
    assert next(gate for gate in gates if gate.name == "writable").remedy.startswith(remedy)
    assert any(
        "default_transaction_read_only = on is stored" in line and remedy in line for line in blocks(status)
    )
    assert next_command(status) is None


@pytest.mark.parametrize("setting", ["search_path = nowhere", "default_transaction_read_only = on"])
def test_strict_mode_answers_that_the_shadow_is_away(
    replicating: TestPair, backend: MakeRuntime, setting: str
) -> None:
    backend(replicating, dual_write="strict")
    with stored(replicating, setting), SessionLocal() as session:
        session.add(Owner(id=50, name="new"))
        with pytest.raises(ShadowUnavailable, match=setting.partition(" ")[0]):
            session.commit()
    assert replicating.lite.execute("SELECT count(*) FROM owner WHERE id = 50").fetchone() == (0,)
