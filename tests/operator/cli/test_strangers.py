"""What an operator sees of two writable sides, of lost capture and of narrow columns, and the way out of each."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.operator.sides import Sides

AtStage = Callable[[str], Sides]


def test_two_writable_sides_are_named_and_the_commands_lead_out(at_stage: AtStage) -> None:
    sides = at_stage("verified")
    sides.postgres("UPDATE st_control SET writable = true")
    sides.postgres(
        "INSERT INTO alerts (id, symbol, action, qty, raw_payload) VALUES (990, 'A', 'BUY', 1, '{}')"
    )
    found = sides.run("status").data
    assert [text for text in found["blocks"] if "both sides take writes" in text and "alerts 990" in text]
    assert found["next"] == "st-migrate recover"
    answer = sides.run("recover")
    assert (answer.code, answer.outcome) == (1, "second_side_fenced")
    assert answer.data["strangers"] == {"alerts": ["990"]}
    assert not sides.writable("postgres")
    assert sides.run("recover").data["strangers"] == {"alerts": ["990"]}
    assert sides.run("cutover").code == 1
    refused = sides.run("verify", "--repair")
    assert (refused.code, refused.data["error"], refused.data["reasons"]) == (1, "Refused", ["alerts 990"])
    assert sides.postgres("SELECT count(*) FROM alerts WHERE id = 990") == [(1,)]
    assert sides.run("verify", "--repair", "--discard-strangers").outcome == "repaired"
    assert sides.postgres("SELECT count(*) FROM alerts WHERE id = 990") == [(0,)]
    assert sides.run("cutover").outcome == "moved"


@pytest.mark.parametrize("stage", ["verified", "moved"])
def test_rows_that_are_written_on_the_primary_as_well_settle_the_question(
    at_stage: AtStage, stage: str
) -> None:
    """Whoever enters a stranger's rows on the primary has nothing left to decide."""
    sides = at_stage(stage)
    row = "INSERT INTO alerts (id, symbol, action, qty, raw_payload, received_at) VALUES (990, 'A', 'BUY', 1, '{}', '2026-01-02 03:04:05.000000')"
    primary, shadow = (
        (sides.sqlite, sides.postgres) if stage == "verified" else (sides.postgres, sides.sqlite)
    )
    shadow(f"UPDATE st_control SET writable = {'true' if stage == 'verified' else 1}")
    shadow(row)
    assert sides.run("recover").data["strangers"] == {"alerts": ["990"]}
    assert sides.run("worker", "--until-drained").code == 0
    primary(row)
    assert sides.run("worker", "--until-drained").code == 0
    assert sides.run("verify").outcome == "clean"
    assert sides.run("recover").data["strangers"] == {}


def test_lost_capture_is_named_by_status_and_mended_by_the_next_command(at_stage: AtStage) -> None:
    sides = at_stage("verified")
    sides.sqlite("DROP TRIGGER st_capture_alerts_update")
    sides.sqlite("UPDATE alerts SET qty = 4711 WHERE id = 7")
    found = sides.run("status").data
    assert [text for text in found["blocks"] if "st_capture_alerts_update" in text]
    assert found["next"] == "st-migrate schema upgrade"
    assert sides.run("schema", "upgrade").code == 0
    assert sides.run("status").data["next"] == "st-migrate verify"
    assert sides.run("worker", "--until-drained").code == 0
    assert sides.postgres("SELECT qty FROM alerts WHERE id = 7") == [(4711.0,)]
    assert sides.run("verify").outcome == "clean"


def test_narrow_columns_are_named_and_widened(at_stage: AtStage) -> None:
    sides = at_stage("verified")
    sides.postgres("ALTER TABLE alerts ALTER COLUMN symbol TYPE varchar(40)")
    found = sides.run("status").data
    assert [text for text in found["blocks"] if "alerts.symbol" in text]
    assert found["next"] == "st-migrate schema upgrade"
    assert [item["code"] for item in sides.run("preflight").data["findings"]].count(
        "postgres.narrow_column"
    ) == 1
    answer = sides.run("schema", "upgrade")
    assert (answer.outcome, answer.data["widened"]) == ("upgraded", ["alerts.symbol"])
    assert sides.run("schema", "upgrade").outcome == "already_upgraded"
    found = sides.run("status").data
    assert found["blocks"] == ["tables were altered, rebuilt or rewritten since the last verify"]
    assert found["next"] == "st-migrate verify"
    assert sides.run("verify").outcome == "clean"
    assert sides.run("status").data["blocks"] == []


def test_after_complete_the_schema_of_the_one_side_is_meant(at_stage: AtStage) -> None:
    sides = at_stage("moved")
    assert sides.run("complete", "--yes").outcome == "completed"
    sides.postgres("ALTER TABLE alerts ALTER COLUMN symbol TYPE varchar(40)")
    answer = sides.run("schema", "upgrade")
    assert (answer.outcome, list(answer.data["revisions"])) == ("upgraded", ["postgres"])
    assert answer.data["widened"] == ["alerts.symbol"]


def test_a_revision_that_does_not_exist(at_stage: AtStage) -> None:
    answer = at_stage("verified").run("schema", "upgrade", "--revision", "nosuch")
    assert (answer.code, answer.data["error"]) == (2, "ConfigurationError")
