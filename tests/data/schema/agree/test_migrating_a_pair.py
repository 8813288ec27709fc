"""Schema migrations in the middle of the move, with the application writing and an applier following."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from app.db.common.errors import ConfigurationError, Refused, SchemaDrift
from app.db.common.urls import Side
from app.db.revisions import pair as migration_pair
from app.db.revisions.chain import alembic_config, upgrade_head
from tests.data.schema.chain_pairs import Traffic, assert_sound, foreign_keys, url_of, verified, versions
from tests.data.schema.pair_chain import CHANGES
from tests.support.pairs import TestPair

SUCCEED = [name for name in CHANGES if not name.startswith(("failing", "without", "made_anew"))]
BOTH = pytest.mark.parametrize("primary", list(Side), ids=["sqlite_primary", "postgres_primary"])


@BOTH
@pytest.mark.parametrize("change", SUCCEED)
def test_change_under_writes(
    change: str, primary: Side, pair_of: Callable[[Side], TestPair], chain: Config
) -> None:
    pair = pair_of(primary)
    verified(pair)
    pair.app(primary).execute("INSERT INTO doomed (v) VALUES ('not yet applied')")
    with Traffic(pair, primary) as traffic:
        upgrade_head(url_of(pair, primary), change, config=chain)
        traffic.wait_for_more()
    assert versions(pair) == [change, change]
    assert_sound(pair, primary)
    assert pair.pg.execute("SELECT count(*) FROM st_verify").fetchone() == (0,)
    events = pair.pg.execute("SELECT event FROM st_history ORDER BY id DESC LIMIT 1").fetchall()
    assert events == [("schema migrated",)]


@BOTH
@pytest.mark.parametrize("change", ["made_anew_by_hand", "made_anew_and_swapped"])
def test_a_table_that_takes_the_name_of_another_is_carried_whole(
    change: str, primary: Side, pair_of: Callable[[Side], TestPair], chain: Config
) -> None:
    pair = pair_of(primary)
    pair.app(primary).execute("INSERT INTO doomed (v) VALUES ('the shadow does not have it yet')")
    upgrade_head(url_of(pair, primary), change, config=chain)
    assert_sound(pair, primary)
    assert pair.app(primary.other).execute("SELECT count(*) FROM doomed").fetchone() == (3,)


@BOTH
@pytest.mark.parametrize("change", ["drop_foreign_key", "rebuild_with_constraint", "new_table", "data_step"])
def test_pair_can_be_switched_afterwards(
    change: str, primary: Side, pair_of: Callable[[Side], TestPair], chain: Config
) -> None:
    pair = pair_of(primary)
    upgrade_head(url_of(pair, primary), change, config=chain)
    pair.drain()
    for to in (primary.other, primary):
        pair.moved(to)
        pair.app(to).execute("UPDATE children SET parent_id = 2 WHERE id > 5")
        assert_sound(pair, to)
    pair.moved(Side.POSTGRES) if primary is Side.SQLITE else None
    expected = {"fk_gentle"} if change == "drop_foreign_key" else {"fk_children"}
    assert foreign_keys(pair) == expected


@BOTH
def test_command_can_be_given_either_side(
    primary: Side, pair_of: Callable[[Side], TestPair], chain: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = pair_of(primary)
    monkeypatch.setenv("ST_SHADOW_DATABASE_URL", url_of(pair, primary))
    upgrade_head(url_of(pair, primary.other), "add_column", config=chain)
    assert versions(pair) == ["add_column", "add_column"]


@BOTH
def test_crash_between_the_sides_is_finished_by_the_same_command(
    primary: Side, pair_of: Callable[[Side], TestPair], chain: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = pair_of(primary)
    original = migration_pair.Run.on_url
    done: list[Any] = []

    def dies_after_the_first(run: Any, url: sa.URL, hooks: Any) -> None:
        if done:
            raise KeyboardInterrupt
        done.append(url)
        original(run, url, hooks)

    with monkeypatch.context() as patch:
        patch.setattr(migration_pair.Run, "on_url", dies_after_the_first)
        with pytest.raises(KeyboardInterrupt):
            upgrade_head(url_of(pair, primary), "add_column", config=chain)
    assert sorted(versions(pair)) == ["add_column", "base_tables"]
    pair.app(primary).execute("UPDATE parents SET n = 77 WHERE id = 4")
    with pytest.raises(SchemaDrift):
        pair.applier.round()
    upgrade_head(url_of(pair, primary), "add_column", config=chain)
    assert versions(pair) == ["add_column", "add_column"]
    assert pair.drain().changes > 0
    assert_sound(pair, primary)


@BOTH
@pytest.mark.parametrize("change", ["failing", "failing_on_sqlite", "failing_on_postgresql"])
def test_failing_revision_can_be_left_at_any_point(
    change: str, primary: Side, pair_of: Callable[[Side], TestPair], chain: Config
) -> None:
    pair = pair_of(primary)
    with pytest.raises(sa.exc.DBAPIError):
        upgrade_head(url_of(pair, primary), change, config=chain)
    fails_on = Side.SQLITE if change == "failing_on_sqlite" else Side.POSTGRES
    shadow_done = change != "failing" and fails_on is primary
    assert sorted(versions(pair)) == sorted(["base_tables", change if shadow_done else "base_tables"])
    if shadow_done:
        chain_command(chain, pair, primary)(command.downgrade, "base_tables")
    pair.app(primary).execute("UPDATE parents SET n = 5 WHERE id = 3")
    assert_sound(pair, primary)


def chain_command(chain: Config, pair: TestPair, side: Side) -> Callable[..., None]:
    """Alembic's own commands with the backend's env.py, on the small chain."""

    def run(verb: Callable[..., None], *arguments: Any) -> None:
        config = alembic_config(url_of(pair, side))
        config.set_main_option("version_locations", f"{chain.get_main_option('script_location')}/versions")
        verb(config, *arguments)

    return run


@BOTH
def test_alembic_migrates_both_sides_there_and_back(
    primary: Side, pair_of: Callable[[Side], TestPair], chain: Config
) -> None:
    pair = pair_of(primary)
    run = chain_command(chain, pair, primary)
    run(command.upgrade, "second_data_step")
    assert versions(pair) == ["second_data_step"] * 2
    run(command.current)
    run(command.downgrade, "data_step")
    assert versions(pair) == ["data_step"] * 2
    assert_sound(pair, primary)


@BOTH
def test_table_that_cannot_be_captured_is_refused(
    primary: Side, pair_of: Callable[[Side], TestPair], chain: Config
) -> None:
    pair = pair_of(primary)
    with pytest.raises(SchemaDrift, match="table copied has no primary key"):
        upgrade_head(url_of(pair, primary), "without_primary_key", config=chain)
    assert versions(pair) == ["base_tables", "base_tables"]
    assert_sound(pair, primary)


@BOTH
def test_partner_has_to_be_configured(
    primary: Side, pair_of: Callable[[Side], TestPair], chain: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, stranger = pair_of(primary), pair_of(primary)
    stranger.pg.execute("UPDATE st_control SET pair = 'another'")
    stranger.lite.execute("UPDATE st_control SET pair = 'another'")
    monkeypatch.setenv("ST_SHADOW_DATABASE_URL", url_of(stranger, primary.other))
    with pytest.raises(ConfigurationError, match="ST_SHADOW_DATABASE_URL names"):
        upgrade_head(url_of(pair, primary), "add_column", config=chain)
    assert versions(pair) == ["base_tables", "base_tables"]


def test_partner_that_is_not_configured_is_asked_for(
    pair_of: Callable[[Side], TestPair], chain: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = pair_of(Side.SQLITE)
    monkeypatch.setenv("ST_SHADOW_DATABASE_URL", "")
    with pytest.raises(ConfigurationError, match="set ST_SHADOW_DATABASE_URL"):
        upgrade_head(url_of(pair, Side.SQLITE), "add_column", config=chain)
    upgrade_head(url_of(pair, Side.SQLITE), "base_tables", config=chain)


def test_partner_that_is_away_hinders_only_what_is_to_be_done(
    pair_of: Callable[[Side], TestPair], chain: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = pair_of(Side.SQLITE)
    monkeypatch.setenv("ST_SHADOW_DATABASE_URL", "postgresql://u@127.0.0.1:1/db")
    upgrade_head(url_of(pair, Side.SQLITE), "base_tables", config=chain)
    with pytest.raises(migration_pair.ShadowUnavailable):
        upgrade_head(url_of(pair, Side.SQLITE), "add_column", config=chain)


@pytest.mark.parametrize(
    ("phase", "hint"), [("copying", "st-migrate backfill"), ("completing", "st-migrate complete")]
)
def test_phase_that_allows_no_change(
    phase: str, hint: str, pair_of: Callable[[Side], TestPair], chain: Config
) -> None:
    pair = pair_of(Side.SQLITE)
    pair.pg.execute("UPDATE st_control SET phase = %s", (phase,))
    upgrade_head(url_of(pair, Side.SQLITE), "base_tables", config=chain)
    with pytest.raises(Refused, match=hint):
        upgrade_head(url_of(pair, Side.SQLITE), "add_column", config=chain)


@pytest.mark.parametrize("given", list(Side))
def test_sides_go_by_themselves_while_postgres_is_being_built(
    given: Side, pair_of: Callable[[Side], TestPair], chain: Config
) -> None:
    pair = pair_of(Side.SQLITE)
    pair.pg.execute("UPDATE st_control SET phase = 'preparing'")
    upgrade_head(url_of(pair, given), "rebuild_with_constraint", config=chain)
    done = {side: "rebuild_with_constraint" if side is given else "base_tables" for side in Side}
    assert versions(pair) == list(done.values())
    assert pair.log_size(Side.POSTGRES) == 0
    assert (pair.log_size(Side.SQLITE) > 0) is (given is Side.SQLITE)


@BOTH
def test_switch_under_way_is_not_disturbed(
    primary: Side, pair_of: Callable[[Side], TestPair], chain: Config
) -> None:
    pair = pair_of(primary)
    pair.pg.execute("UPDATE st_control SET attempt = 'x'")
    with pytest.raises(Refused, match="being switched"):
        upgrade_head(url_of(pair, primary), "add_column", config=chain)
    assert versions(pair) == ["base_tables", "base_tables"]


def test_single_connection_is_refused(pair_of: Callable[[Side], TestPair]) -> None:
    pair = pair_of(Side.SQLITE)
    config = alembic_config(url_of(pair, Side.SQLITE))
    with sa.create_engine(url_of(pair, Side.SQLITE), poolclass=sa.NullPool).connect() as connection:
        config.attributes["connection"] = connection
        with pytest.raises(Refused, match="single connection"):
            command.upgrade(config, "head")
