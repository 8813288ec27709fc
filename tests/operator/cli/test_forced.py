"""PostgreSQL is gone: what can be done without it, what may be lost, and what happens when it comes back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from loadtests.stage.embedded import free_port
from tests.operator.sides import Sides

AtStage = Callable[[str], Sides]


def gone(sides: Sides) -> Sides:
    """The same pair, with nothing listening at PostgreSQL's address."""
    head, _, database = sides.url.rpartition("/")
    return replace(sides, url=f"{head.rpartition(':')[0]}:{free_port()}/{database}")


def test_force_states_the_loss_and_does_nothing_before_it_is_accepted(at_stage: AtStage) -> None:
    sides = at_stage("moved")
    sides.postgres("UPDATE alerts SET qty = 500 WHERE id = 1")
    assert sides.run("worker", "--until-drained").code == 0
    sides.postgres("UPDATE alerts SET qty = 501 WHERE id = 1")  # acknowledged, and never applied
    lost = gone(sides)
    answer = lost.run("rollback", "--force")
    assert (answer.code, answer.outcome) == (1, "loss_not_accepted")
    assert (
        "everything PostgreSQL acknowledged after the last change that reached SQLite"
        in answer.data["message"]
    )
    assert time.time() - answer.data["loss"]["applied_at"] < 60
    assert not sides.writable("sqlite")
    assert lost.run("rollback", "--force", "--accept-loss", "--dry-run").outcome == "loss_not_accepted"
    answer = lost.run("rollback", "--force", "--accept-loss")
    assert (answer.code, answer.outcome, answer.data["epoch"]) == (0, "forced", 3)
    assert sides.writable("sqlite")
    assert sides.sqlite("SELECT qty FROM alerts WHERE id = 1") == [(500.0,)]
    assert lost.run("rollback", "--force", "--accept-loss").outcome == "already_primary"


def test_a_forced_rollback_is_told(
    at_stage: AtStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, lost = tmp_path / "told", gone(at_stage("moved"))
    monkeypatch.setenv("ST_HOOK_AFTER_PROMOTE", f"sh -c 'echo $ST_FACTS >>{told}'")
    assert lost.run("rollback", "--force").outcome == "loss_not_accepted"
    assert not told.exists()
    assert lost.run("rollback", "--force", "--accept-loss").outcome == "forced"
    facts = json.loads(told.read_text(encoding="utf-8"))
    assert (facts["primary"], facts["epoch"], facts["forced"]) == ("sqlite", 3, True)
    assert facts["loss"].startswith("may be lost")


def test_a_postgres_that_comes_back_is_fenced_and_filled_anew(at_stage: AtStage) -> None:
    sides = at_stage("moved")
    assert gone(sides).run("rollback", "--force", "--accept-loss").outcome == "forced"
    found = sides.run("status").data
    assert (found["state"], found["primary"], found["next"]) == (
        "postgres_superseded",
        "sqlite",
        "st-migrate abort",
    )
    assert sides.run("recover").outcome == "postgres_superseded"
    assert not sides.writable("postgres")
    for verb in ("cutover", "rollback"):
        assert sides.run(verb).data["error"] == "Refused"
    assert sides.run("complete", "--yes").code == 1
    answer = sides.run("abort", "--yes", sides.database)
    assert (answer.data["primary"], answer.data["epoch"], answer.data["fenced"]) == ("sqlite", 3, True)
    assert sides.writable("sqlite") and not sides.writable("postgres")
    assert sides.run("run", "--discard-target", "--yes", sides.database, "--cutover").outcome == "moved"


def test_force_is_refused_while_anything_answers(at_stage: AtStage) -> None:
    sides = at_stage("moved")
    answer = sides.run("rollback", "--force", "--accept-loss")
    assert (answer.code, answer.data["message"]) == (1, "PostgreSQL answers")
    stranger = replace(sides, url=at_stage("fresh").url)
    answer = stranger.run("rollback", "--force", "--accept-loss")
    assert (answer.code, answer.data["error"]) == (1, "Refused")
    missing = replace(sides, url=sides.url + "x")
    assert missing.run("rollback", "--force", "--accept-loss").code == 2
    assert not sides.writable("sqlite")


def test_force_during_a_commit_whose_outcome_is_unknown_stays_ahead_of_postgres(at_stage: AtStage) -> None:
    sides = at_stage("verified")
    sides.control(writable=0, attempt="dead", attempt_state="committing", attempt_deadline=1.0)
    lost = gone(sides)
    answer = lost.run("recover")
    assert (answer.code, answer.outcome) == (3, "postgres_needed")
    answer = lost.run("rollback", "--force")
    assert answer.data["loss"]["undecided"] is True
    assert lost.run("rollback", "--force", "--accept-loss").data["epoch"] == 3
    assert sides.run("recover").outcome == "postgres_superseded"
    assert sides.writable("sqlite") and not sides.writable("postgres")


@pytest.mark.parametrize("deadline", [1.0, 4e9], ids=["over", "of a clock that was set back"])
def test_a_dead_attempt_before_its_commit_is_released_without_postgres(
    at_stage: AtStage, deadline: float
) -> None:
    sides = at_stage("verified")
    sides.control(writable=0, attempt="dead", attempt_state="draining", attempt_deadline=deadline)
    assert gone(sides).run("recover").outcome == "released_alone"
    assert sides.writable("sqlite")


def test_a_live_attempt_is_left_alone(at_stage: AtStage) -> None:
    sides = at_stage("verified")
    sides.control(writable=0, attempt="alive", attempt_state="draining", attempt_deadline=time.time() + 60)
    assert gone(sides).run("rollback", "--force", "--accept-loss").data["error"] == "Refused"
    assert gone(sides).run("recover").outcome == "attempt_in_progress"
    assert not sides.writable("sqlite")


def test_abort_without_postgres_cleans_sqlite_alone(at_stage: AtStage) -> None:
    sides = at_stage("verified")
    answer = sides.run("abort", "--without-postgres")
    assert (answer.code, answer.data["message"]) == (1, "PostgreSQL answers")
    assert gone(sides).run("abort", "--without-postgres").outcome == "aborted"
    assert sides.traces()[0] == [] and sides.writable("sqlite")
    assert not sides.writable("postgres")


def test_abort_without_postgres_is_refused_where_postgres_is_primary(at_stage: AtStage) -> None:
    sides = at_stage("moved")
    answer = gone(sides).run("abort", "--without-postgres")
    assert (answer.code, answer.data["error"]) == (1, "Refused")
    assert not sides.writable("sqlite")


def test_verbs_that_need_postgres_say_so_and_change_nothing(at_stage: AtStage) -> None:
    sides = at_stage("verified")
    lost = gone(sides)
    for verb in ("prepare", "backfill", "verify", "cutover", "pause", "abort"):
        answer = lost.run(verb)
        assert (answer.code, answer.data["error"]) == (3, "ShadowUnavailable"), verb
        assert "cannot be reached" in answer.data["message"] and answer.data["hint"]
    assert sides.run("status").data["state"] == "replicating" and sides.writable("sqlite")


def test_status_shows_what_sqlite_knows(at_stage: AtStage) -> None:
    answer = gone(at_stage("moved")).run("status")
    assert (answer.code, answer.data["state"], answer.data["primary"]) == (
        0,
        "postgres_unreachable",
        "postgres",
    )
    assert answer.data["sides"]["postgres"]["reachable"] is False
    assert answer.data["blocks"][0].startswith("PostgreSQL cannot be read")
