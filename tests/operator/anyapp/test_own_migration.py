"""`st-migrate schema -- COMMAND`: the application's own migration on both sides of a live pair."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.operator.anyapp.conftest import Stranger

# A migration tool of the usual kind: it looks at what is there, and does what is missing.
TOOL = """
import os, sqlite3, sys
import psycopg

side, statements = os.environ["ST_SIDE"], sys.argv[1:]
if side in os.environ.get("FAIL_ON", ""):
    sys.exit("no disk left")
if side == "sqlite":
    connection = sqlite3.connect(os.environ["ST_SQLITE_FILE"], isolation_level=None)
    known = "SELECT 1 FROM pragma_table_info('person') WHERE name = 'email'"
else:
    connection = psycopg.connect("", autocommit=True)  # by PGHOST and its like
    known = "SELECT 1 FROM information_schema.columns WHERE table_name = 'person' AND column_name = 'email'"
print(side, os.environ["ST_SIDE_ROLE"])
if connection.execute(known).fetchone() is None:
    for statement in statements:
        connection.execute(statement)
connection.close()
"""
STEPS = (
    "ALTER TABLE person ADD COLUMN email VARCHAR(50)",
    "UPDATE person SET email = name",
    "CREATE TABLE team (id INTEGER PRIMARY KEY, name TEXT)",
    "INSERT INTO team VALUES (1, 'first')",
)


@pytest.fixture
def moving(stranger: Callable[..., Stranger]) -> Stranger:
    app = stranger()
    app.done("prepare", "--schema", "existing")
    app.done("backfill")
    return app


@pytest.fixture
def tool(tmp_path: Path) -> tuple[str, ...]:
    path = tmp_path / "migrate.py"
    path.write_text(TOOL)
    return ("--", sys.executable, str(path), *STEPS)


def test_the_shadow_comes_first_and_rows_come_out_as_on_the_primary(
    moving: Stranger, tool: tuple[str, ...]
) -> None:
    answer = moving.done("schema", *tool)
    assert answer.data["sides"] == ["postgres", "sqlite"]
    assert "person" in answer.data["logged"]
    moving.lite("INSERT INTO team VALUES (2, 'second'); UPDATE person SET email = 'ada@x' WHERE id = 1")
    moving.done("worker", "--until-drained")
    moving.done("verify")
    moving.done("cutover")
    assert moving.pg("SELECT id, email FROM person ORDER BY id") == [(1, "ada@x"), (2, None)]
    assert moving.pg("SELECT name FROM team ORDER BY id") == [("first",), ("second",)]
    keys = "SELECT conname FROM pg_constraint WHERE contype = 'f' AND conrelid = 'person'::regclass"
    assert moving.pg(keys) == [("person_role",)]


def test_a_failure_on_the_shadow_leaves_the_primary_and_says_so(
    moving: Stranger, tool: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIL_ON", "postgres")
    answer = moving.run("schema", *tool)
    assert (answer.code, answer.outcome, answer.data["sides"]) == (3, "command_failed", [])
    assert "sqlite was not touched and takes writes" in answer.data["message"]
    moving.lite("UPDATE person SET visits = 99 WHERE id = 1")
    moving.done("worker", "--until-drained")
    moving.done("verify")


def test_a_failure_on_the_primary_is_finished_by_the_same_command(
    moving: Stranger, tool: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIL_ON", "sqlite")
    answer = moving.run("schema", *tool)
    assert (answer.code, answer.data["failed"], answer.data["sides"]) == (3, "sqlite", ["postgres"])
    assert "apply stands still until the sides agree" in answer.data["message"]
    moving.lite("UPDATE person SET visits = 99 WHERE id = 1")  # the application goes on
    monkeypatch.delenv("FAIL_ON")
    moving.done("schema", *tool)
    moving.done("worker", "--until-drained")
    moving.done("verify")
    assert moving.pg("SELECT visits FROM person WHERE id = 1") == [(99,)]


def test_with_postgres_as_primary_sqlite_comes_first(moving: Stranger, tool: tuple[str, ...]) -> None:
    moving.done("verify")
    moving.done("cutover")
    command = (
        *tool[:3],
        "ALTER TABLE person ADD COLUMN email VARCHAR(50)",
    )  # no rows: SQLite's fence stays up
    answer = moving.done("schema", *command)
    assert answer.data["sides"] == ["sqlite", "postgres"]
    moving.pg("UPDATE person SET email = 'x@y' WHERE id = 1")
    moving.done("worker", "--until-drained")
    moving.done("verify")
    assert moving.lite("SELECT email FROM person WHERE id = 1") == [("x@y",)]


def test_a_program_that_is_not_there_is_a_wrong_call(moving: Stranger) -> None:
    answer = moving.run("schema", "--", "no-such-program")
    assert (answer.code, answer.data["message"]) == (
        2,
        "no-such-program cannot be run: No such file or directory",
    )


def test_schema_upgrade_runs_no_chain_on_such_a_pair(moving: Stranger) -> None:
    before = _without_history(moving.dump())
    assert moving.done("schema", "upgrade").outcome == "already_upgraded"
    assert _without_history(moving.dump()) == before


def _without_history(dump: str) -> str:
    """Each command leaves a line in the history."""
    return "\n".join(line for line in dump.splitlines() if not line.startswith("st_history: "))
