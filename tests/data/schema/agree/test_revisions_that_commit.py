"""Revisions that commit by themselves, on a pair: they work safely or are refused; a kill leaves one writable side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from signal import SIGKILL

import psycopg
import pytest
from alembic.config import Config

from app.db.common.errors import Refused
from app.db.common.failpoints import Failpoint, arm
from app.db.common.urls import Side
from app.db.revisions.chain import upgrade_head
from app.db.revisions.commits import commits_in
from app.db.switch.recover import Recovered
from app.db.switch.state.writable import writable_sides
from tests.data.schema.chain_pairs import Traffic, assert_sound, takes_writes, url_of, versions
from tests.data.schema.pair_chain import COMMITTING, HIDDEN, REFUSED
from tests.support.dying.zygote import Zygote
from tests.support.pairs import TestPair

BOTH = pytest.mark.parametrize("primary", list(Side), ids=["sqlite_primary", "postgres_primary"])
POINTS = [point for point in Failpoint if point.startswith("schema.")]
PairOf = Callable[[Side], TestPair]


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote() as running:
        yield running


def indexes(pair: TestPair) -> list[tuple[str, bool]]:
    return pair.pg.execute(
        "SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "WHERE c.relname LIKE 'ix\\_children%'"
    ).fetchall()


@BOTH
@pytest.mark.parametrize("change", ["concurrent_index", "label_in_block"])
def test_it_works_under_writes(change: str, primary: Side, pair_of: PairOf, chain: Config) -> None:
    pair = pair_of(primary)
    with Traffic(pair, primary) as traffic:
        upgrade_head(url_of(pair, primary), change, config=chain)
        traffic.wait_for_more()
    assert versions(pair) == [change, change]
    assert_sound(pair, primary)
    if change == "concurrent_index":
        assert indexes(pair) == [("ix_children_text", True)]
    else:
        labels = pair.pg.execute("SELECT id, mood::text FROM parents WHERE mood IS NOT NULL ORDER BY id")
        assert labels.fetchall() == [(2, "loud"), (3, "wild")]


@BOTH
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_any_step_one_side_is_writable_and_the_same_command_finishes(
    point: Failpoint, primary: Side, pair_of: PairOf, chain: Config, zygote: Zygote
) -> None:
    pair = pair_of(primary)
    call = ("upgrade", pair, primary, chain.get_main_option("script_location"), "concurrent_index")
    assert zygote.run(*call, failpoints=f"{point}=kill") == -SIGKILL
    assert writable_sides(pair.applier.stores) == (primary,)
    assert not takes_writes(pair, primary.other)
    assert pair.recover() is Recovered.NOTHING
    pair.app(primary).execute("UPDATE parents SET n = 77 WHERE id = 4")
    assert zygote.run(*call) == 0
    assert versions(pair) == ["concurrent_index", "concurrent_index"]
    assert_sound(pair, primary)
    assert indexes(pair) == [("ix_children_text", True)]


def test_a_stranger_meets_the_fence_while_the_migration_passes_it(pair_of: PairOf, chain: Config) -> None:
    """Neither inside the block nor beside the migrating transaction does anybody else get through."""
    pair = pair_of(Side.SQLITE)
    other = pair.new_pg()
    other.execute("SET st.migrating = '1'")
    refused = []

    def write() -> None:
        with pytest.raises(psycopg.DatabaseError, match="takes no application writes"):
            other.execute("INSERT INTO doomed (v) VALUES ('stranger')")
        refused.append(True)

    with arm(Failpoint.SCHEMA_BLOCK, write), arm(Failpoint.SCHEMA_OPENED, write):
        upgrade_head(url_of(pair, Side.SQLITE), "concurrent_index", config=chain)
    assert len(refused) == 3  # opened on each side, and once in the block
    assert_sound(pair, Side.SQLITE)


def test_an_index_that_a_dead_build_left_is_built_anew(pair_of: PairOf, chain: Config) -> None:
    pair = pair_of(Side.SQLITE)
    pair.pg.execute("CREATE INDEX ix_children_text ON children (text)")
    pair.pg.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_children_text'::regclass")
    upgrade_head(url_of(pair, Side.SQLITE), "concurrent_index", config=chain)
    assert indexes(pair) == [("ix_children_text", True)]


@BOTH
@pytest.mark.parametrize("change", REFUSED)
def test_it_is_refused_before_anything_starts(
    change: str, primary: Side, pair_of: PairOf, chain: Config
) -> None:
    pair = pair_of(primary)
    with pytest.raises(Refused, match=rf"{change}.py, line \d+"):
        upgrade_head(url_of(pair, primary), change, config=chain)
    assert versions(pair) == ["base_tables", "base_tables"]
    assert_sound(pair, primary)


@BOTH
@pytest.mark.parametrize("change", HIDDEN)
def test_what_the_source_does_not_show_is_stopped_and_undone(
    change: str, primary: Side, pair_of: PairOf, chain: Config
) -> None:
    pair = pair_of(primary)
    with pytest.raises(Refused):
        upgrade_head(url_of(pair, primary), change, config=chain)
    assert writable_sides(pair.applier.stores) == (primary,)
    sides = Side if change != "hidden_driver_commit" else [Side.SQLITE]
    for side in sides:
        assert pair.app(side).execute("SELECT count(*) FROM parents WHERE n = 4711").fetchone() == (0,)
    assert versions(pair)[0] == "base_tables" or primary is Side.POSTGRES


@pytest.mark.parametrize("change", COMMITTING)
def test_what_works_is_not_complained_about(change: str) -> None:
    assert commits_in("from alembic import op\n" + COMMITTING[change], "upgrade") == []


SOURCES = {
    "the other direction": ("def downgrade():\n    op.execute('COMMIT')", 0),
    "a session's commit stays inside": (
        "def upgrade():\n    session = Session(bind=op.get_bind())\n    session.commit()",
        0,
    ),
    "a function body has a BEGIN and an END": (
        "def upgrade():\n    op.execute('DO $$ BEGIN UPDATE t SET a = 1; END; $$')",
        0,
    ),
    "a column called end": ("def upgrade():\n    op.add_column('t', sa.Column('end', sa.Text()))", 0),
    "another branch comes before the block": (
        "def upgrade():\n"
        "    if lite():\n        op.create_index('i', 't', ['a'])\n"
        "    else:\n"
        "        with op.get_context().autocommit_block():\n"
        "            op.create_index('i', 't', ['a'], postgresql_concurrently=True)",
        0,
    ),
    "a commit behind a semicolon": (
        "def upgrade():\n    op.execute(sa.text('UPDATE t SET a = 1; COMMIT'))",
        1,
    ),
    "a text has a COMMIT in it": (
        "def upgrade():\n    op.execute(\"UPDATE t SET a = 'x; COMMIT; y'; -- ;COMMIT;\\n\")",
        0,
    ),
    "a function's body is one statement": (
        "def upgrade():\n    op.execute('CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END')",
        0,
    ),
    "a column called begin in an index": (
        "def upgrade():\n    op.create_index('i', 't', [sa.text('begin DESC')])",
        0,
    ),
    "a commit behind a comment": ("def upgrade():\n    op.execute('/* done */ -- now\\n COMMIT')", 1),
    "a commit that begins anew": ("def upgrade():\n    op.execute('COMMIT WORK AND CHAIN')", 1),
    "a transaction of another level": (
        "def upgrade():\n    op.execute('BEGIN ISOLATION LEVEL SERIALIZABLE, READ WRITE')",
        1,
    ),
    "a prepared transaction": ("def upgrade():\n    op.execute(\"PREPARE TRANSACTION 'x'\")", 1),
    "a commit behind a dollar sign": ("def upgrade():\n    op.execute('SELECT $$;$$; COMMIT')", 1),
    "a helper commits": ("def helper():\n    op.execute('commit')\n\ndef upgrade():\n    helper()", 1),
    "rows by bulk_insert": (
        "def upgrade():\n    with op.get_context().autocommit_block():\n        op.bulk_insert(t, [])",
        1,
    ),
}


@pytest.mark.parametrize("case", SOURCES)
def test_source(case: str) -> None:
    text, places = SOURCES[case]
    assert len(commits_in(text, "upgrade")) == places
