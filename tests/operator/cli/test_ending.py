"""Complete and abort: what stays, what goes, and who can still write where."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import psycopg
import pytest
from alembic import command
from sqlalchemy.exc import OperationalError

from app.db.common.errors import Refused
from app.db.common.failpoints import Failpoint, arm
from app.db.revisions.chain import alembic_config
from app.db.sides.capture.triggers import FENCED_TEXT
from app.db.sides.sqlite.bulletin import SUFFIX
from tests.operator.sides import ALERTS, Sides

AtStage = Callable[[str], Sides]
CRASH = "raise"


def journal_mode(sides: Sides) -> str:
    return str(sides.sqlite("PRAGMA journal_mode")[0][0])


def test_complete_on_postgres_leaves_sqlite_fenced_for_good(at_stage: AtStage) -> None:
    sides = at_stage("moved")
    answer = sides.run("complete", "--yes")
    assert answer.data["primary"] == "postgres" and answer.data["retired"] == "sqlite"
    assert answer.data["journal_mode"] == "delete" and answer.data["not_standing"] == []
    assert sides.traces()[1] == ["st_served"]
    assert {name.split("_")[1] for name in sides.traces()[0]} == {"retired"}
    assert sides.sqlite("SELECT count(*) FROM alerts") == [(ALERTS,)]
    for statement in (
        "INSERT INTO alerts (symbol, action, raw_payload) VALUES ('A', 'BUY', '{}')",
        "INSERT OR IGNORE INTO alerts (symbol, action, raw_payload) VALUES ('A', 'BUY', '{}')",
        "REPLACE INTO alerts (id, symbol, action, raw_payload) VALUES (1, 'A', 'BUY', '{}')",
        "INSERT INTO users (id, username, password_hash) VALUES (1, 'a', 'b') ON CONFLICT DO UPDATE SET role = 'X'",
        "UPDATE OR REPLACE alerts SET qty = 0",
        "UPDATE OR IGNORE alerts SET qty = 0",
        "DELETE FROM orders",
        "UPDATE alembic_version SET version_num = 'x'",
    ):
        with pytest.raises(
            sqlite3.OperationalError, match=f"{FENCED_TEXT}.*primary is postgres since epoch 2"
        ):
            sides.sqlite(statement)
    assert sides.sqlite("SELECT count(*), max(qty) FROM alerts") == [(ALERTS, float(ALERTS))]


def test_complete_on_sqlite_leaves_postgres_fenced_and_the_file_without_a_trace(at_stage: AtStage) -> None:
    sides = at_stage("back")
    remembered = sides.postgres("SELECT count(*) FROM st_deferred_ddl WHERE kind = 'foreign_key'")
    answer = sides.run("complete", "--yes")
    assert (answer.outcome, answer.data["primary"], answer.data["journal_mode"]) == (
        "completed",
        "sqlite",
        "delete",
    )
    assert sides.traces()[0] == [] and sides.writable("sqlite")
    assert set(sides.traces()[1]) == {"st_retired"}
    assert not sides.writable("postgres")
    with pytest.raises(psycopg.Error, match="primary is sqlite since epoch 3"):
        sides.postgres("TRUNCATE alerts CASCADE")
    keys = "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace"
    assert sides.postgres(keys) == remembered
    found = sides.run("status").data
    assert (found["state"], found["primary"], found["epoch"]) == ("completed", "sqlite", 3)


def test_a_retired_postgres_can_be_filled_anew(at_stage: AtStage) -> None:
    sides = at_stage("back")
    assert sides.run("complete", "--yes").code == 0
    answer = sides.run("prepare")
    assert (answer.code, answer.data["error"]) == (1, "Refused") and "retired" in answer.data["message"]
    assert sides.run("run", "--discard-target", "--yes", sides.database, "--cutover").outcome == "moved"
    assert sides.writable("postgres") and not sides.writable("sqlite")


@pytest.mark.parametrize("fails", ["rule", "later"])
def test_the_fence_of_a_retired_postgres_stands_until_all_rules_agree(
    at_stage: AtStage, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    sides = at_stage("back")
    assert sides.run("complete", "--yes").code == 0
    if fails == "rule":
        sides.sqlite("CREATE TABLE loose (a TEXT)")
    else:

        def fails_late(*_: object, **__: object) -> None:
            raise Refused("something that only building shows")

        monkeypatch.setattr("migration.fill.prepare._set_aside", fails_late)
    answer = sides.run("prepare", "--discard-target", "--yes", sides.database)
    assert answer.code != 0
    assert set(sides.traces()[1]) == {"st_retired"} and not sides.writable("postgres")


def test_a_retired_file_cannot_be_the_source_of_a_move(at_stage: AtStage) -> None:
    sides = at_stage("moved")
    assert sides.run("complete", "--yes").code == 0
    for verb in ("cutover", "rollback", "backfill", "verify", "recover", "pause"):
        answer = sides.run(verb)
        assert (answer.code, answer.data["error"]) == (2, "NotPrepared")
        assert "only an archive" in answer.data["message"] and "prepare" not in answer.data["hint"]
    for verb in ("prepare", "run"):
        answer = sides.run(verb, "--discard-target")
        assert (answer.code, answer.data["error"]) == (1, "Refused")
    assert sides.postgres("SELECT count(*) FROM alerts") == [(ALERTS,)]


def test_a_migration_cannot_lift_the_fence_of_a_retired_file(at_stage: AtStage) -> None:
    sides = at_stage("moved")
    assert sides.run("complete", "--yes").code == 0
    before = sides.traces()[0]
    with pytest.raises(OperationalError, match=FENCED_TEXT):
        command.stamp(alembic_config(f"sqlite:///{sides.path}"), "base")
    assert sides.traces()[0] == before


def test_unfence_retired_lifts_the_fence_at_once_or_later(at_stage: AtStage) -> None:
    sides = at_stage("moved")
    assert sides.run("complete", "--yes", "--unfence-retired").data["fenced"] is False
    assert sides.traces() == ([], ["st_served"]) and sides.writable("sqlite")
    later = at_stage("moved")
    assert later.run("complete", "--yes").code == 0
    assert later.run("complete", "--yes", "--unfence-retired").outcome == "already_complete"
    assert later.writable("sqlite")


def test_complete_asks_and_does_nothing_when_nobody_answers(at_stage: AtStage) -> None:
    sides = at_stage("moved")
    answer = sides.run("complete")
    assert (answer.code, answer.data["error"]) == (2, "ConfigurationError")
    assert sides.run("status").data["state"] == "replicating"


def test_complete_refuses_while_the_shadow_is_not_known_to_be_equal(at_stage: AtStage) -> None:
    sides = at_stage("copied")
    answer = sides.run("complete", "--yes")
    assert (answer.code, answer.data["reasons"]) == (
        1,
        ["there is no finished verify: run st-migrate verify"],
    )
    sides.sqlite("UPDATE alerts SET qty = 'many' WHERE id = 4")
    assert sides.run("verify").code in (0, 1)
    answer = sides.run("complete", "--yes")
    open_row = "1 row of sqlite is in quarantine and not accepted: alerts 4: see st-migrate quarantine list"
    assert open_row in answer.data["reasons"]
    assert sides.run("status").data["state"] == "replicating"


@pytest.mark.parametrize(
    "stage, verb", [("moved", "complete"), ("back", "complete"), ("copied", "abort"), ("moved", "abort")]
)
def test_crash_between_the_sides_then_the_same_command(at_stage: AtStage, stage: str, verb: str) -> None:
    sides = at_stage(stage)
    options = ["--yes"] if verb == "complete" else ["--yes", sides.database]
    with arm(Failpoint.COMPLETE_SQLITE, CRASH):
        assert sides.run(verb, *options).code == 3
    primary = "postgres" if stage == "moved" else "sqlite"
    assert sides.writable(primary)
    assert not sides.writable("sqlite" if primary == "postgres" else "postgres")
    found = sides.run("status").data
    assert (found["state"], found["next"]) == ("completing", f"st-migrate {verb}")
    other = ["abort", "--yes", sides.database] if verb == "complete" else ["complete", "--yes"]
    assert sides.run(*other).code == 1
    assert sides.run("prepare", "--discard-target").code in (1, 2)
    answer = sides.run(verb, *options)
    assert (answer.code, answer.data["primary"]) == (0, primary)
    assert sides.run("status").data["state"] in ("completed", "not_prepared")


def test_abort_of_a_copy_leaves_no_trace_and_prepare_starts_anew(at_stage: AtStage) -> None:
    for stage in ("prepared", "verified"):
        sides = at_stage(stage)
        bulletin = sides.path.with_name(sides.path.name + SUFFIX)
        bulletin.write_bytes(b"told by a round")
        answer = sides.run("abort", "--yes", sides.database)
        assert not bulletin.exists()
        assert (answer.outcome, answer.data["copy_dropped"], answer.data["fenced"]) == (
            "aborted",
            True,
            False,
        )
        assert sides.traces() == ([], []) and journal_mode(sides) == "delete"
        assert sides.postgres("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
        assert sides.run("abort", "--yes", sides.database).outcome == "already_single"
    assert sides.run("run").outcome == "ready"


def test_abort_after_a_prepare_that_died_early(at_stage: AtStage) -> None:
    sides = at_stage("fresh")
    with arm(Failpoint.PREPARE_SCHEMA, CRASH):
        assert sides.run("prepare").code == 3
    assert sides.run("status").data["next"] == "st-migrate prepare"
    assert sides.run("abort", "--yes", sides.database).outcome == "aborted"
    assert sides.traces() == ([], [])


def test_abort_keeps_the_primary_whatever_is_unfinished(at_stage: AtStage) -> None:
    sides = at_stage("moved")
    sides.postgres("UPDATE alerts SET qty = 77 WHERE id = 1")
    answer = sides.run("abort", "--yes", sides.database)
    assert (answer.data["primary"], answer.data["fenced"], answer.data["copy_dropped"]) == (
        "postgres",
        True,
        False,
    )
    assert sides.postgres("SELECT qty FROM alerts WHERE id = 1") == [(77.0,)]
    assert not sides.writable("sqlite")


def test_complete_gives_way_to_a_transaction_that_holds_a_table(
    at_stage: AtStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("migration.switch.teardown.LOCKS_WITHIN_S", 1.0)
    sides = at_stage("moved")
    from_application = sides.connect()
    from_application.execute("BEGIN")
    from_application.execute("UPDATE alerts SET qty = 3 WHERE id = 1")
    answer = sides.run("complete", "--yes")
    assert (answer.code, answer.data["error"]) == (3, "LockNotAvailable")
    from_application.execute("COMMIT")
    from_application.close()
    assert sides.run("complete", "--yes").outcome == "completed"
    assert sides.postgres("SELECT qty FROM alerts WHERE id = 1") == [(3.0,)]
