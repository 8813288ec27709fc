"""Status, readiness and the gates give one answer, and the next command that status names works."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.operator.sides import Answer, Sides

AtStage = Callable[[str], Sides]


def look(sides: Sides) -> tuple[str, str | None]:
    """What status says blocks, in one text, and the next command."""
    answer = sides.run("status")
    assert answer.code == 0
    return " | ".join(answer.data["blocks"]), answer.data["next"]


def closed(answer: Answer) -> list[str]:
    return [gate["name"] for gate in answer.data["gates"] if not gate["ok"]]


@pytest.mark.parametrize(
    ("side", "statement", "named"),
    [
        ("sqlite", "ALTER TABLE alerts ADD COLUMN extra TEXT", "column alerts.extra is only on SQLite"),
        ("postgres", "DROP TABLE candles CASCADE", "table candles is only on SQLite"),
    ],
)
def test_a_schema_that_a_shell_changed_is_named(
    at_stage: AtStage, side: str, statement: str, named: str
) -> None:
    sides = at_stage("verified")
    (sides.sqlite if side == "sqlite" else sides.postgres)(statement)
    text, following = look(sides)
    assert named in text and "by hand" in text and following is None
    assert sides.run("status").data["apply"] == "standing"
    assert {"schema", "capture"} <= set(closed(sides.run("cutover", "--dry-run")))
    if side == "sqlite":
        sides.sqlite("ALTER TABLE alerts DROP COLUMN extra")
        altered = "tables were altered, rebuilt or rewritten since the last verify"
        assert look(sides) == (altered, "st-migrate verify")


@pytest.mark.parametrize("stage", ["verified", "moved"])
def test_lost_triggers_are_named_and_the_next_commands_mend_them(at_stage: AtStage, stage: str) -> None:
    sides = at_stage(stage)
    if stage == "verified":
        for event in ("insert", "update", "delete"):
            sides.sqlite(f"DROP TRIGGER st_capture_alerts_{event}")
        sides.sqlite("UPDATE alerts SET qty = 9 WHERE id = 1")
    else:
        sides.postgres("DROP TRIGGER st_capture_update ON alerts")
        sides.postgres("UPDATE alerts SET qty = 9 WHERE id = 1")
    followed = []
    for _ in range(6):
        text, following = look(sides)
        if following in ("st-migrate cutover", "st-migrate complete"):
            break
        assert text and following is not None
        followed.append(following)
        assert sides.run(*following.split()[1:]).code in (0, 1), following
    assert followed[0] == "st-migrate schema upgrade" and followed[1:]
    to = "cutover" if stage == "verified" else "rollback"
    assert closed(sides.run(to, "--dry-run")) == []
    for rows in (sides.sqlite, sides.postgres):
        assert rows("SELECT qty FROM alerts WHERE id = 1") == [(9.0,)]


def test_changes_that_nobody_applies_are_named(at_stage: AtStage) -> None:
    sides = at_stage("verified")
    sides.sqlite("UPDATE alerts SET qty = 9 WHERE id = 1")
    sides.sqlite("UPDATE st_change_log SET at = at - 60")
    sides.postgres("UPDATE st_watermark SET applied_at = applied_at - 60")
    text, following = look(sides)
    assert "s behind: nobody applies" in text and following == "st-migrate worker"
    assert sides.run("status").data["apply"] == "missing"
    assert sides.run("worker", "--until-drained").code == 0
    assert look(sides) == ("", "st-migrate cutover")


def test_a_pause_is_named_before_it_shows_as_lag(at_stage: AtStage) -> None:
    sides = at_stage("verified")
    assert sides.run("pause").code == 0
    text, following = look(sides)
    assert "paused" in text and following == "st-migrate resume"
    assert sides.run("status").data["apply"] == "paused"


def test_a_pause_that_reached_one_side_only_is_named_and_taken_back(at_stage: AtStage) -> None:
    """`pause` and `resume` write on one side after the other, and may die between."""
    sides = at_stage("moved")
    sides.control(paused=1)
    sides.postgres("UPDATE alerts SET qty = 8 WHERE id = 1")
    assert look(sides) == ("apply and backfill are paused", "st-migrate resume")
    assert sides.run("worker", "--until-drained").data["message"] == "apply is paused"
    assert sides.run("resume").outcome == "resumed"
    assert sides.run("worker", "--until-drained").data["changes"] == 1


TRIGGER = "CREATE TRIGGER mine AFTER INSERT ON alerts BEGIN UPDATE alerts SET qty = 1 WHERE id = NEW.id; END"
LAST_ID = "INSERT INTO alerts (id, symbol, action, qty, raw_payload) VALUES (9223372036854775807, 'T', 'BUY', 1, 'x')"
READ_ONLY = "ALTER DATABASE {database} SET default_transaction_read_only = on"


@pytest.mark.parametrize(
    ("side", "statement", "gate", "named"),
    [
        ("sqlite", TRIGGER, "capture", "mine on alerts (SQLite)"),
        ("postgres", "CREATE RULE r AS ON UPDATE TO alerts DO ALSO NOTHING", "capture", 'DROP RULE "r"'),
        (
            "postgres",
            "DELETE FROM alembic_version",
            "schema",
            "write the revision that the tables of postgres have",
        ),
        ("postgres", READ_ONLY, "writable", "default_transaction_read_only"),
        ("sqlite", LAST_ID, "sequences", "no id is left below 9223372036854775807"),
    ],
)
def test_what_no_command_mends_is_named_and_has_no_next_command(
    at_stage: AtStage, side: str, statement: str, gate: str, named: str
) -> None:
    sides = at_stage("verified")
    (sides.sqlite if side == "sqlite" else sides.postgres)(statement.format(database=sides.database))
    text, following = look(sides)
    assert named in text and following is None, (text, following)
    assert gate in closed(sides.run("cutover", "--dry-run"))
