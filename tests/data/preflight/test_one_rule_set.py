"""What preflight blocks, prepare refuses by the same code, and both sides are as they were; the remedy works."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from app.db.common.errors import SwitchError
from app.db.common.settings import ShimSettings
from app.db.common.urls import make_pair, parse_url
from app.db.revisions.source import Alembic, SchemaSource
from app.db.rows.policy import Policy
from app.db.sides.stores import Stores
from migration.common.failures import failure
from migration.fill import prepare as preparing
from migration.preflight.findings.report import Finding, Severity
from migration.preflight.rules import LATER
from migration.preflight.run import run
from tests.data.preflight.rule_cases import CASES, ELSEWHERE, PLAIN, UNFIT, Case
from tests.support.contents import postgres_dump, sqlite_dump
from tests.support.pairs import PlainTables, connect


@dataclass
class World:
    """One SQLite file and one database."""

    path: Path
    url: sa.URL
    case: Case

    @property
    def policy(self) -> Policy:
        return Policy(Path("migration.toml"), {(t, c): (name,) for t, c, name in self.case.columns})

    @property
    def source(self) -> SchemaSource:
        return Alembic() if self.case.chain else PlainTables(self.case.ddl, probe=None)

    def findings(self, *excluded: str) -> list[Finding]:
        found = run(self.path, self.url, self.policy, source=self.source, excluded=excluded).findings
        return [item for item in found if item.code == self.case.code and item.severity is Severity.BLOCKS]

    def prepare(self, *excluded: str) -> None:
        pair = make_pair(parse_url(f"sqlite:///{self.path}", name="sqlite"), self.url)
        with Stores.open(pair, ShimSettings()) as stores:
            preparing.prepare(pair, stores, self.source, exclude=excluded, report=lambda line: None)

    def do(self, statement: str) -> None:
        side, _, sql = statement.partition(":")
        if side == "s":
            connection = sqlite3.connect(self.path, isolation_level=None)
            connection.execute(sql)
            connection.close()
        else:
            with self.postgres() as server:
                server.execute(sql.replace("{db}", f'"{self.url.database}"').encode())

    def postgres(self) -> psycopg.Connection[tuple[object, ...]]:
        return connect(self.url.render_as_string(hide_password=False))

    def dumps(self) -> tuple[str, str]:
        with self.postgres() as server:
            return sqlite_dump(self.path), postgres_dump(server)


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path, pg_url: str) -> Iterator[World]:
    case: Case = request.param
    made = World(tmp_path / "a.db", parse_url(pg_url, name="test"), case)
    for statement in (*PLAIN, *case.sqlite):
        made.do(f"s:{statement}")
    for statement in case.postgres:
        made.do(f"p:{statement}")
    yield made


def cases(*, with_remedy: bool = False) -> pytest.MarkDecorator:
    chosen = {
        name: case
        for name, case in CASES.items()
        if not with_remedy or ((case.remedy or case.exclude) and case.code != "schema.unknown_exclude")
    }
    return pytest.mark.parametrize("world", chosen.values(), ids=chosen.keys(), indirect=True)


@cases()
def test_prepare_refuses_by_the_same_code_and_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "active_policy", lambda: world.policy)
    excluded = world.case.exclude if world.case.code == "schema.unknown_exclude" else ()
    before = world.dumps()
    assert world.findings(*excluded), "preflight blocks it"
    with pytest.raises(SwitchError) as error:
        world.prepare(*excluded)
    assert world.case.code in error.value.codes
    assert failure(error.value).exit == 1
    assert world.dumps() == before


@cases(with_remedy=True)
def test_the_remedy_followed_to_the_letter_works(world: World) -> None:
    (finding, *_) = world.findings()
    named = re.findall(
        r"--leave-out (\S+)|((?:DROP TRIGGER|DROP RULE|ALTER TABLE) [^()]+?) \(on", finding.remedy
    )
    assert [option for option, _ in named if option] == list(world.case.exclude)
    done = [statement[2:] for statement in world.case.remedy]
    if world.case.code in UNFIT:
        assert [f"{sql} (on PostgreSQL)" in finding.remedy for sql in done] == [True]
    else:
        assert [sql for _, sql in named if sql and " RENAME TO a name" not in sql and sql not in done] == []
    for statement in world.case.remedy:
        world.do(statement)
    assert world.findings(*world.case.exclude) == []
    if not world.case.remedy:
        world.prepare(*world.case.exclude)


def test_every_blocking_finding_has_a_case() -> None:
    root = Path(__file__).resolve().parents[3]
    source = "\n".join(
        path.read_text(encoding="utf-8")
        for path in [
            *(root / "migration" / "preflight").rglob("*.py"),
            *(root / "backend/app/db/revisions/source").rglob("*.py"),
        ]
    )
    blocking = set(re.findall(r'_blocks\(\s*"([a-z]+\.[a-z0-9_]+)"', source))
    blocking |= set(re.findall(r'"([a-z]+\.[a-z0-9_]+)",\s*Severity\.BLOCKS', source))
    blocking |= set(re.findall(r'codes=\("([a-z]+\.[a-z0-9_]+)",\)', source))
    assert len(blocking) > 20
    covered = {case.code for case in CASES.values()} | ELSEWHERE.keys()
    assert {code for code in blocking if not code.startswith(LATER)} - covered == set()
