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
from app.db.common.urls import Side, make_pair, parse_url
from app.db.revisions.source import Alembic, SchemaSource
from app.db.rows.policy import Policy
from app.db.sides.locks import QUIET
from app.db.sides.stores import Stores
from migration.common.failures import failure
from migration.fill import prepare as preparing
from migration.preflight.findings.report import Finding, Severity
from migration.preflight.rules import LATER
from migration.preflight.run import run
from tests.support.contents import postgres_dump, sqlite_dump
from tests.support.pairs import PlainTables, connect

PLAIN = ("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)", "INSERT INTO t VALUES (1, 'x')")
DDL = "CREATE TABLE IF NOT EXISTS t (id bigint PRIMARY KEY, a text)"


@dataclass(frozen=True)
class Case:
    """A state that blocks, and what its remedy says to do.

    `ddl` is what makes PostgreSQL's tables. `remedy`: statements, each marked with its side (`s:`, `p:`);
    one that the remedy spells out has to be in it word for word. `exclude`: the remedy names that option.
    """

    code: str
    sqlite: tuple[str, ...] = ()
    postgres: tuple[str, ...] = ()
    ddl: str = DDL
    remedy: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    chain: bool = False
    columns: tuple[tuple[str, str, str], ...] = ()


LONG = "n" * 64
CASES = {
    "trigger_on_sqlite": Case(
        "schema.trigger",
        ("CREATE TRIGGER echo AFTER INSERT ON t BEGIN DELETE FROM t WHERE id < 0; END",),
        remedy=('s:DROP TRIGGER "echo"',),
    ),
    "trigger_with_a_name_like_ours": Case(
        "schema.trigger",
        ("CREATE TRIGGER st_capture_t_insert AFTER INSERT ON t BEGIN DELETE FROM t WHERE id < 0; END",),
        remedy=('s:DROP TRIGGER "st_capture_t_insert"',),
    ),
    "trigger_on_postgres": Case(
        "schema.trigger",
        postgres=(
            DDL,
            "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
            "CREATE TRIGGER touched BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION touch()",
        ),
        remedy=(
            "p:DROP TRIGGER touched ON t",
            f"p:CREATE TRIGGER touched BEFORE UPDATE ON t FOR EACH ROW WHEN ({QUIET[Side.POSTGRES]}) EXECUTE FUNCTION touch()",
        ),
    ),
    "no_primary_key": Case(
        "schema.no_primary_key",
        ("CREATE TABLE loose (a TEXT)",),
        ddl=DDL + "; CREATE TABLE IF NOT EXISTS loose (a text)",
        remedy=("s:DROP TABLE loose", "s:CREATE TABLE loose (a TEXT PRIMARY KEY)"),
    ),
    "json_key": Case(
        "schema.key_type",
        ("CREATE TABLE f (a JSON PRIMARY KEY)",),
        ddl=DDL + "; CREATE TABLE IF NOT EXISTS f (a jsonb PRIMARY KEY)",
        remedy=("s:DROP TABLE f", "s:CREATE TABLE f (id INTEGER PRIMARY KEY, a JSON)"),
    ),
    "type": Case(
        "schema.type",
        postgres=("CREATE TABLE t (id bigint PRIMARY KEY, a xml)",),
        remedy=("p:ALTER TABLE t ALTER a TYPE text",),
    ),
    "array": Case(
        "schema.type",
        postgres=("CREATE TABLE t (id bigint PRIMARY KEY, a text[])",),
        remedy=("p:ALTER TABLE t ALTER a TYPE text",),
    ),
    "column_on_sqlite_only": Case(
        "schema.drift",
        ("ALTER TABLE t ADD COLUMN later TEXT",),
        (DDL,),
        exclude=("t.later",),
    ),
    "table_on_sqlite_only": Case(
        "schema.drift", ("CREATE TABLE candles_2024 (id INTEGER PRIMARY KEY)",), exclude=("candles_2024",)
    ),
    "table_on_postgres_only": Case(
        "schema.drift",
        postgres=(
            "CREATE TABLE other (id int PRIMARY KEY, n varchar(3))",
            "INSERT INTO other VALUES (1, 'abc')",
        ),
        exclude=("other",),
    ),
    "expression_index": Case(
        "schema.expression_index",
        ("CREATE UNIQUE INDEX low ON t (lower(a))",),
        remedy=("s:DROP INDEX low", "s:CREATE UNIQUE INDEX low ON t (a)"),
    ),
    "partial_unique_index_without_case": Case(
        "schema.collation",
        ("CREATE UNIQUE INDEX low ON t (a COLLATE NOCASE) WHERE id > 5",),
        remedy=("s:DROP INDEX low", "s:CREATE UNIQUE INDEX low ON t (a COLLATE NOCASE)"),
    ),
    "partial_index": Case(
        "schema.partial_index",
        ("CREATE UNIQUE INDEX one ON t (a) WHERE id > 5",),
        ddl=DDL + "; CREATE UNIQUE INDEX one ON t (a)",
    ),
    "key_without_case": Case(
        "schema.key_collation",
        ("CREATE TABLE k (a TEXT COLLATE NOCASE PRIMARY KEY)",),
        ddl=DDL + "; CREATE TABLE IF NOT EXISTS k (a text PRIMARY KEY)",
        remedy=("s:DROP TABLE k", "s:CREATE TABLE k (a TEXT PRIMARY KEY)"),
    ),
    "virtual_table": Case(
        "schema.virtual_table",
        ("CREATE VIRTUAL TABLE words USING rtree (id, a, b)",),
        exclude=("words",),
    ),
    "our_name_on_sqlite": Case(
        "schema.reserved_name",
        ("CREATE TABLE st_control (id INTEGER PRIMARY KEY)",),
        remedy=("s:ALTER TABLE st_control RENAME TO controls",),
    ),
    "our_name_on_postgres": Case(
        "schema.reserved_name",
        postgres=("CREATE TABLE st_history (id bigint PRIMARY KEY)",),
        remedy=("p:ALTER TABLE st_history RENAME TO histories",),
    ),
    "our_function": Case(
        "schema.reserved_name",
        postgres=("CREATE FUNCTION st_admit() RETURNS int LANGUAGE sql AS 'SELECT 1'",),
        remedy=("p:ALTER FUNCTION st_admit RENAME TO admit",),
    ),
    "long_name": Case(
        "schema.long_name",
        (f"CREATE TABLE {LONG} (id INTEGER PRIMARY KEY)",),
        remedy=(f"s:ALTER TABLE {LONG} RENAME TO short",),
    ),
    "names_that_collide": Case(
        "schema.name_collision",
        (f"CREATE TABLE {LONG}a (id INTEGER PRIMARY KEY)", f"CREATE TABLE {LONG}b (id INTEGER PRIMARY KEY)"),
        remedy=(f"s:ALTER TABLE {LONG}a RENAME TO short_a",),
    ),
    "foreign_key_to_nothing_unique": Case(
        "schema.foreign_key",
        ("CREATE TABLE c (id INTEGER PRIMARY KEY, a TEXT REFERENCES t (a))",),
        ddl=DDL + "; CREATE TABLE IF NOT EXISTS c (id bigint PRIMARY KEY, a text)",
        remedy=("s:CREATE UNIQUE INDEX t_a ON t (a)",),
    ),
    "rows_on_postgres": Case(
        "postgres.not_empty",
        postgres=(DDL, "INSERT INTO t VALUES (9, 'found')"),
        remedy=("p:DELETE FROM t",),
    ),
    "foreign_key_from_outside": Case(
        "postgres.foreign_key",
        postgres=(
            DDL,
            "CREATE TABLE outside (id bigint PRIMARY KEY, t_id bigint CONSTRAINT fk REFERENCES t)",
        ),
        remedy=('p:ALTER TABLE "outside" DROP CONSTRAINT "fk"',),
    ),
    "read_only": Case(
        "postgres.read_only", postgres=("ALTER DATABASE {db} SET default_transaction_read_only = on",)
    ),
    "no_schema": Case("postgres.schema", postgres=("ALTER DATABASE {db} SET search_path = nowhere",)),
    "another_revision": Case("alembic.revision", chain=True),
    "unknown_exclude": Case("schema.unknown_exclude", exclude=("nothing",)),
    "policy_for_nothing": Case("policy.unknown_column", columns=(("gone", "a", "strip_nul"),)),
    "policy_for_a_key": Case("policy.key_column", columns=(("t", "id", "integral_real"),)),
    "policy_of_another_kind": Case("policy.kind", columns=(("t", "a", "epoch_seconds"),)),
}
# Blocking codes without a case: what a test cannot bring about here, or another test does.
ELSEWHERE = {
    "row.null_key": "quarantine closes the cutover, see the dirty rows",
    "row.last_id": "the gate `sequences` is closed, see the ids that are given out once",
    "postgres.triggers_off": "silenced triggers have tests of their own",
    "postgres.event_trigger": "silenced triggers have tests of their own",
    "sqlite.version": "the library of this Python",
    "sqlite.damaged": "a damaged page is made in the tests of files",
    "sqlite.unreadable": "as above",
    "sqlite.not_writable": "refused before the rules, as a wrong call",
    "alembic.chain": "test_chain_trial",
    "alembic.heads": "test_chain_trial",
    "alembic.trial": "test_chain_trial",
    "postgres.version": "needs an old server",
    "postgres.encoding": "test_preflight_server",
    "postgres.standby": "needs a standby",
    "postgres.privilege": "test_preflight_server",
    "postgres.owner": "tables of an installer have tests of their own",
    "schema.view": "tests of what is left as found",
    "schema.source": "a source of another kind",
    "schema.not_installed": "tables of an installer have tests of their own",
    "schema.key": "tables of an installer have tests of their own",
    "schema.excluded_key": "tables of an installer have tests of their own",
    "schema.excluded_needed": "tables of an installer have tests of their own",
}


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
    named = re.findall(r"--leave-out (\S+)|((?:DROP TRIGGER|ALTER TABLE) [^()]+?) \(on", finding.remedy)
    assert [option for option, _ in named if option] == list(world.case.exclude)
    done = [statement[2:] for statement in world.case.remedy]
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
