"""The operator's procedure from end to end, each command twice, on a small database."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.operator.sides import ALERTS, Sides

AtStage = Callable[[str], Sides]


def test_the_whole_way_forward_back_forward_and_complete(at_stage: AtStage) -> None:
    sides = at_stage("fresh")
    for command, first, again in (
        (("prepare",), "prepared", "already_prepared"),
        (("backfill",), "copied", "already_copied"),
        (("worker", "--until-drained"), "drained", "drained"),
        (("verify",), "clean", "clean"),
        (("prepare",), "already_prepared", "already_prepared"),
        (("cutover",), "moved", "already_primary"),
        (("prepare",), "already_prepared", "already_prepared"),
        (("rollback",), "moved", "already_primary"),
        (("cutover",), "moved", "already_primary"),
        (("complete", "--yes"), "completed", "already_complete"),
    ):
        answer = sides.run(*command)
        assert (answer.code, answer.outcome) == (0, first), (command, answer)
        answer = sides.run(*command)
        assert (answer.code, answer.outcome) == (0, again), (command, answer)
    assert sides.postgres("SELECT count(*) FROM alerts") == [(ALERTS,)]
    assert sides.writable("postgres")
    assert not sides.writable("sqlite")
    assert sides.traces()[1] == ["st_served"]


def test_changes_on_either_primary_reach_the_other(at_stage: AtStage) -> None:
    sides = at_stage("verified")
    sides.sqlite("UPDATE alerts SET qty = 1000 WHERE id = 5")
    assert sides.run("cutover").outcome == "moved"
    assert sides.postgres("SELECT qty FROM alerts WHERE id = 5") == [(1000.0,)]
    sides.postgres("DELETE FROM alerts WHERE id = 6")
    assert sides.run("rollback").outcome == "moved"
    assert sides.sqlite("SELECT count(*) FROM alerts WHERE id = 6") == [(0,)]


def test_run_stops_before_the_cutover_and_goes_on_when_told(at_stage: AtStage) -> None:
    sides = at_stage("fresh")
    answer = sides.run("run", "--workers", "2")
    assert (answer.code, answer.outcome) == (0, "ready")
    assert answer.data["verify"]["mismatches"] == 0
    assert sides.writable("sqlite")
    answer = sides.run("run", "--cutover")
    assert (answer.code, answer.outcome) == (0, "moved")
    assert sides.writable("postgres") and not sides.writable("sqlite")
    assert sides.run("run").outcome == "already_primary"


def test_copy_moves_offline_and_leaves_the_file_fenced(at_stage: AtStage) -> None:
    sides = at_stage("fresh")
    answer = sides.run("copy")
    assert (answer.code, answer.outcome) == (0, "moved")
    assert len(answer.data["foreign_keys_not_valid"]) == 1
    assert sides.writable("postgres") and not sides.writable("sqlite")
    assert sides.run("copy").outcome == "already_complete"
    assert sides.postgres(
        "INSERT INTO alerts (symbol, action, raw_payload) VALUES ('A', 'BUY', '{}') RETURNING id > 120"
    ) == [(True,)]


def test_dry_run_lists_gates_and_changes_nothing(at_stage: AtStage) -> None:
    sides = at_stage("copied")
    answer = sides.run("cutover", "--dry-run")
    assert (answer.code, answer.outcome) == (1, "refused")
    assert [gate["name"] for gate in answer.data["gates"] if not gate["ok"]] == ["verify"]
    assert sides.run("verify").code == 0
    answer = sides.run("cutover", "--dry-run")
    assert (answer.code, answer.outcome) == (0, "ready")
    assert answer.data["steps"][1] == "raise the fence on sqlite: writers wait from here on"
    assert sides.run("status").data["primary"] == "sqlite"


def test_a_closed_gate_refuses_with_its_reasons(at_stage: AtStage) -> None:
    sides = at_stage("copied")
    answer = sides.run("cutover")
    assert (answer.code, answer.outcome, answer.data["error"]) == (1, "error", "Refused")
    assert answer.data["reasons"][0].startswith("verify: there is no finished verify")
    assert sides.writable("sqlite")


def test_verify_finds_and_repairs_exactly_the_damaged_rows(at_stage: AtStage) -> None:
    sides = at_stage("verified")
    sides.postgres("SELECT set_config('st.applying', '1', false); UPDATE alerts SET qty = -1 WHERE id = 9")
    sides.postgres("SELECT set_config('st.applying', '1', false); DELETE FROM orders WHERE id = 12")
    answer = sides.run("verify")
    assert (answer.code, answer.outcome) == (1, "mismatch")
    assert [(item["table"], item["key"], item["kind"]) for item in answer.data["keys"]] == [
        ("alerts", "9", "different"),
        ("orders", "12", "missing"),
    ]
    assert sides.run("cutover").code == 1
    answer = sides.run("verify", "--repair")
    assert (answer.code, answer.outcome, answer.data["repaired"]) == (0, "repaired", 2)
    assert sides.run("cutover").outcome == "moved"


def test_verify_of_one_table_leaves_the_others_alone(at_stage: AtStage) -> None:
    sides = at_stage("verified")
    answer = sides.run("verify", "--table", "alerts", "--table", "orders")
    assert (answer.code, answer.data["tables"], answer.data["full"]) == (0, 2, False)
    assert sides.run("verify", "--table", "nosuch").code == 2


def test_a_row_that_postgres_cannot_hold_blocks_until_it_is_accepted(at_stage: AtStage) -> None:
    sides = at_stage("verified")
    sides.sqlite("UPDATE alerts SET qty = 'many' WHERE id IN (4, 5)")
    assert sides.run("worker", "--until-drained").data["refused"] == 2
    listed = sides.run("quarantine", "list").data["rows"]
    assert [(row["table"], row["key"], row["column"]) for row in listed] == [
        ("alerts", "4", "qty"),
        ("alerts", "5", "qty"),
    ]
    shown = sides.run("quarantine", "show", "alerts", "4").data
    assert shown["content"]["qty"] == {"text": "many"}
    assert "quarantine" in sides.run("cutover").data["message"]
    sides.sqlite("DROP TRIGGER st_capture_alerts_update")  # a correction that capture did not see
    sides.sqlite("UPDATE alerts SET qty = 4 WHERE id = 4")
    assert sides.run("prepare").outcome == "repaired"
    answer = sides.run("quarantine", "retry", "--all")
    assert [row["key"] for row in answer.data["still_held"]] == ["5"]
    assert sides.run("quarantine", "accept", "alerts", "5", "--by", "asha", "--yes").data["accepted"] == 1
    assert sides.run("quarantine", "accept", "--all", "--by", "asha", "--yes").outcome == "already_accepted"
    assert sides.run("verify").code == 0
    assert sides.run("cutover").outcome == "moved"
    assert sides.run("quarantine", "retry", "--all").data["retried"] == 0
    answer = sides.run("quarantine", "retry", "alerts", "5")
    assert (answer.code, answer.data["error"]) == (1, "Refused")
    assert sides.sqlite("SELECT qty FROM alerts WHERE id = 5") == [("many",)]


def test_pause_holds_apply_and_resume_lets_it_go_on(at_stage: AtStage) -> None:
    sides = at_stage("verified")
    assert [sides.run("pause").outcome, sides.run("pause").outcome] == ["paused", "already_paused"]
    sides.sqlite("UPDATE alerts SET qty = 55 WHERE id = 3")
    answer = sides.run("worker", "--until-drained")
    assert (answer.code, answer.data["error"]) == (1, "Refused")
    found = sides.run("status").data
    assert found["paused"] and found["next"] == "st-migrate resume" and found["lag"]["entries"] == 1
    assert [sides.run("resume").outcome, sides.run("resume").outcome] == ["resumed", "already_running"]
    assert sides.run("worker", "--until-drained").data["changes"] == 1


@pytest.mark.parametrize(
    "stage, verb", [("verified", "rollback"), ("moved", "cutover"), ("back", "rollback")]
)
def test_a_switch_to_the_primary_is_done_already(at_stage: AtStage, stage: str, verb: str) -> None:
    assert at_stage(stage).run(verb).outcome == "already_primary"


def test_history_tells_who_did_what(at_stage: AtStage) -> None:
    events = at_stage("moved").run("history").data["events"]
    assert [event["event"] for event in events][-3:] == [
        "switch to postgres begun", "primary postgres", "command cutover",
    ]  # fmt: skip
    assert at_stage("moved").run("history", "--limit", "1").data["events"][0]["epoch"] == 2


def test_preflight_is_clean_and_writes_nothing(at_stage: AtStage) -> None:
    sides = at_stage("fresh")
    before = sides.path.read_bytes()
    answer = sides.run("preflight")
    assert (answer.code, answer.outcome) == (0, "clean"), answer.data["findings"]
    assert sides.path.read_bytes() == before
    sides.sqlite("UPDATE alerts SET qty = 'many' WHERE id = 4")
    answer = sides.run("preflight")
    assert (answer.code, answer.outcome) == (1, "blocked")
    assert [
        (f["table"], f["column"], f["keys"]) for f in answer.data["findings"] if f["severity"] == "blocks"
    ] == [("alerts", "qty", ["4"])]
