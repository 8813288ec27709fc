"""Triggers of the application's own that would change what apply writes: named, and kept still by the remedy."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator

import pytest

from app.db.common.urls import Side, parse_url
from app.db.rows.policy import Policy
from app.db.sides.locks import QUIET
from app.db.switch.gates import evaluate
from loadtests.stage.embedded import EmbeddedPostgres
from migration.preflight.run import run
from migration.verify.checking import trigger_lines
from migration.verify.repair import repair_all
from migration.verify.run import Verify
from tests.data.verify.small_pair import SmallPair, make_small_pair

FUNCTION = """
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN NEW.name := NEW.name || ' touched'; RETURN NEW; END $$
"""
TOUCH = "CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON parents FOR EACH ROW {when} EXECUTE FUNCTION touch()"
ON_SQLITE = "CREATE TRIGGER ours AFTER INSERT ON parents {when} BEGIN DELETE FROM children; END"


@pytest.fixture
def pair(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallPair]:
    name = f"v_{uuid.uuid4().hex[:12]}"
    made = make_small_pair(tmp_path_factory.mktemp("triggers"), postgres_server.create_database(name))
    yield made
    made.applier.stores.close()
    postgres_server.drop_database(name)


def capture_gate(pair: SmallPair) -> tuple[bool, str, str]:
    (gate,) = [g for g in evaluate(pair.applier, Side.POSTGRES, max_pause_ms=60_000) if g.name == "capture"]
    return gate.ok, gate.detail, gate.remedy


def test_one_on_postgres_is_named_and_the_remedy_works(pair: SmallPair) -> None:
    postgres = pair.applier.stores.postgres.connection
    postgres.execute(FUNCTION)
    postgres.execute(TOUCH.format(when="").encode())
    pair.write("UPDATE parents SET name = 'new' WHERE id = 1")
    pair.settle()
    found = Verify(pair.applier).run()
    assert [(item.key, item.columns) for item in found.mismatches] == [(("1",), ("name",))]
    assert any("trigger touch changes" in line for line in repair_all(pair.applier, ["parents"]).reasons())
    (line,) = trigger_lines(pair.applier)
    assert line.startswith("trigger touch on parents (PostgreSQL)")
    ok, detail, remedy = capture_gate(pair)
    assert not ok and "touch on parents (PostgreSQL)" in detail
    named = [
        item
        for item in run(pair.path, parse_url(pair.url, name="test"), Policy()).findings
        if item.code == "schema.trigger"
    ]
    assert [(item.table, item.remedy) for item in named] == [("parents", remedy)]

    condition = re.search(r"WHEN \(.*\)(?=,)", remedy)
    assert condition and QUIET[Side.POSTGRES] in condition.group()
    postgres.execute("DROP TRIGGER touch ON parents")
    postgres.execute(TOUCH.format(when=condition.group()).encode())
    assert repair_all(pair.applier, ["parents"]).keys == 1
    assert Verify(pair.applier).run().clean and not trigger_lines(pair.applier)
    assert capture_gate(pair)[0]
    pair.move(Side.POSTGRES)
    pair.write("INSERT INTO parents VALUES (50, 'x')")
    assert postgres.execute("SELECT name FROM parents WHERE id = 50").fetchall() == [("x touched",)]


def test_one_on_sqlite_is_named_and_the_remedy_works(pair: SmallPair) -> None:
    sqlite = pair.applier.stores.sqlite.connection
    sqlite.execute(ON_SQLITE.format(when=""))
    ok, detail, remedy = capture_gate(pair)
    assert not ok and "ours on parents (SQLite)" in detail
    condition = re.search(r"WHEN \(.*\)(?=,)", remedy)
    assert condition
    sqlite.execute("DROP TRIGGER ours")
    sqlite.execute(ON_SQLITE.format(when=condition.group()))
    assert capture_gate(pair)[0]
    pair.move(Side.POSTGRES)
    pair.write("INSERT INTO parents VALUES (50, 'x')")
    pair.settle()
    assert Verify(pair.applier).run().clean, "it did not fire on what apply wrote"
    pair.move(Side.SQLITE)
    pair.write("INSERT INTO parents VALUES (51, 'x')")
    assert sqlite.execute("SELECT count(*) FROM children").fetchall() == [(0,)]


def test_one_that_logs_into_another_table_does_not_close_the_gate_of_the_way_back(pair: SmallPair) -> None:
    when = f"WHEN ({QUIET[Side.POSTGRES]})"
    postgres = pair.applier.stores.postgres.connection
    postgres.execute(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN UPDATE parents SET name = name; RETURN NULL; END $$"
    )
    postgres.execute(
        f"CREATE TRIGGER note AFTER UPDATE ON bars FOR EACH ROW {when} EXECUTE FUNCTION note()".encode()
    )
    gates = {gate.name: gate for gate in evaluate(pair.applier, Side.POSTGRES, max_pause_ms=60_000)}
    assert gates["reverse"].ok, gates["reverse"].detail


def test_one_that_is_named_like_ours_is_still_the_applications(pair: SmallPair) -> None:
    postgres = pair.applier.stores.postgres.connection
    postgres.execute(FUNCTION)
    postgres.execute(TOUCH.format(when="").replace("TRIGGER touch", "TRIGGER st_touch").encode())
    pair.applier.stores.sqlite.connection.execute(
        ON_SQLITE.format(when="").replace("TRIGGER ours", "TRIGGER st_ours")
    )
    ok, detail, _ = capture_gate(pair)
    assert not ok
    assert "st_touch on parents (PostgreSQL)" in detail and "st_ours on parents (SQLite)" in detail
