"""Preflight tries the chain on PostgreSQL and throws the result away; prepare refuses by the same codes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.config import Config
from sqlalchemy import URL

from app.db.common.errors import Refused, SwitchError
from app.db.common.settings import ShimSettings
from app.db.common.urls import make_pair, parse_url
from app.db.revisions.chain import upgrade_head
from app.db.revisions.source import Alembic
from app.db.rows.policy import Policy
from app.db.sides.stores import Stores
from migration.fill.prepare import prepare
from migration.preflight.findings.report import Finding, Severity
from migration.preflight.run import run
from tests.support.contents import postgres_dump, sqlite_dump
from tests.support.pairs import connect

HEAD = """
import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = {before}


def upgrade():
"""
GOOD = (
    'op.create_table("a", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("code", sa.String(20)))'
)
FAILING = {
    "one_constraint_name_twice": (
        'op.create_table("b", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("n", sa.Integer()),'
        ' sa.UniqueConstraint("n", name="uq"));'
        'op.create_table("c", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("n", sa.Integer()),'
        ' sa.UniqueConstraint("n", name="uq"))',
        "c",
        "give each a name of its own",
    ),
    "text_key_to_an_integer": (
        'op.create_table("b", sa.Column("id", sa.Integer(), primary_key=True),'
        ' sa.Column("a_id", sa.String(9), sa.ForeignKey("a.id")))',
        "b",
        "give both columns one type",
    ),
    "view_over_a_column_of_raw_sql": (
        'op.execute("CREATE TABLE b (id INTEGER PRIMARY KEY, code VARCHAR(20))");'
        'op.execute("CREATE VIEW v AS SELECT code FROM b")',
        "b",
        "drop the view before the column changes",
    ),
}
WORKING = {
    "view_in_the_same_revision": 'op.create_table("b", sa.Column("id", sa.Integer(), primary_key=True),'
    ' sa.Column("code", sa.String(20)));op.execute("CREATE VIEW v AS SELECT code FROM b")',
    "boolean_default_in_brackets": 'op.create_table("b", sa.Column("id", sa.Integer(), primary_key=True),'
    ' sa.Column("on", sa.Boolean(), server_default=sa.text("(1)")))',
}


@pytest.fixture
def chain(tmp_path: Path) -> Callable[..., Config]:
    def make(*bodies: str) -> Config:
        folder = tmp_path / "chain"
        (folder / "versions").mkdir(parents=True)
        (folder / "env.py").write_text("raise RuntimeError('executed')")
        for n, body in enumerate(bodies):
            text = HEAD.format(revision=f"r{n}", before=f'"r{n - 1}"' if n else None) + f"    {body}\n"
            (folder / "versions" / f"r{n}.py").write_text(text)
        config = Config()
        config.set_main_option("script_location", str(folder))
        return config

    return make


def _at_head(path: Path, config: Config) -> Path:
    upgrade_head(f"sqlite:///{path}", config=config)
    return path


def _blocking(path: Path, url: URL, config: Config) -> list[Finding]:
    report = run(path, url, Policy(), source=Alembic(config))
    return [item for item in report.findings if item.severity is Severity.BLOCKS]


def _prepare(path: Path, url: URL, config: Config) -> None:
    pair = make_pair(parse_url(f"sqlite:///{path}", name="sqlite"), url)
    with Stores.open(pair, ShimSettings()) as stores:
        prepare(pair, stores, Alembic(config), report=lambda line: None)


def _dump(path: Path, url: URL) -> tuple[str, str]:
    with connect(url.render_as_string(hide_password=False)) as server:
        return sqlite_dump(path), postgres_dump(server)


@pytest.mark.parametrize("name", FAILING)
def test_a_revision_that_fails_is_named_and_nothing_stays(
    name: str, chain: Callable[..., Config], tmp_path: Path, pg_url: str
) -> None:
    body, table, remedy = FAILING[name]
    config, url = chain(GOOD, body), parse_url(pg_url, name="test")
    path = _at_head(tmp_path / "a.db", config)
    before = _dump(path, url)
    (finding,) = _blocking(path, url, config)
    assert (finding.code, finding.table) == ("alembic.trial", table)
    assert finding.reason.startswith("revision r1 fails on PostgreSQL: ")
    assert remedy in finding.remedy
    assert _dump(path, url) == before
    with pytest.raises(SwitchError, match="revision r1 fails on PostgreSQL") as error:
        _prepare(path, url, config)
    assert error.value.codes == ("alembic.trial",)
    assert remedy in (error.value.hint or "")
    assert _dump(path, url) == before


@pytest.mark.parametrize("name", WORKING)
def test_a_revision_that_can_work_works(
    name: str, chain: Callable[..., Config], tmp_path: Path, pg_url: str
) -> None:
    config, url = chain(GOOD, WORKING[name]), parse_url(pg_url, name="test")
    path = _at_head(tmp_path / "a.db", config)
    assert _blocking(path, url, config) == []
    _prepare(path, url, config)


LEAVES = {
    "block": "with op.get_context().autocommit_block():\n"
    '        op.create_index("ix_a", "a", ["code"], postgresql_concurrently=op.get_bind().dialect.name == "postgresql")',
    "commit": 'op.execute("COMMIT") if op.get_bind().dialect.name == "postgresql" else None',
}


@pytest.mark.parametrize("name", LEAVES)
def test_a_revision_that_leaves_its_transaction_is_not_tried(
    name: str, chain: Callable[..., Config], tmp_path: Path, pg_url: str
) -> None:
    config, url = chain(GOOD, LEAVES[name]), parse_url(pg_url, name="test")
    path = _at_head(tmp_path / "a.db", config)
    before = _dump(path, url)
    found = run(path, url, Policy(), source=Alembic(config)).findings
    assert "alembic.untried" in {item.code for item in found}
    assert _dump(path, url) == before


def test_a_table_that_the_chain_does_not_make_is_named_before(
    chain: Callable[..., Config], tmp_path: Path, pg_url: str
) -> None:
    config, url = chain(GOOD), parse_url(pg_url, name="test")
    path = _at_head(tmp_path / "a.db", config)
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE candles_2024 (id INTEGER PRIMARY KEY)")
    connection.close()
    (finding,) = _blocking(path, url, config)
    assert (finding.code, finding.table) == ("schema.drift", "candles_2024")
    assert "--leave-out candles_2024" in finding.remedy


def test_a_chain_with_two_heads_or_none_that_can_be_read(
    chain: Callable[..., Config], tmp_path: Path
) -> None:
    config = chain(GOOD, "pass")
    lite = sqlite3.connect(_at_head(tmp_path / "a.db", config))
    versions = tmp_path / "chain" / "versions"
    (versions / "other.py").write_text(HEAD.format(revision="other", before='"r0"') + "    pass\n")
    with pytest.raises(Refused, match="2 heads") as error:
        Alembic(config).require_ready(lite)
    assert error.value.codes == ("alembic.heads",)
    config.set_main_option("script_location", str(tmp_path / "nowhere"))
    with pytest.raises(Refused, match="cannot be read") as error:
        Alembic(config).require_ready(lite)
    assert error.value.codes == ("alembic.chain",)
    lite.close()
