"""Status reads every state that the protocol can leave behind, and prepare repairs none that it must not."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace

import pytest

from app.db.sides.control import NO_PHASE
from app.db.sides.phase import Phase
from migration.common import sides as opening
from migration.watch.status import blocks, gather, next_command
from tests.model.explorer import explore
from tests.model.switch.switch_model import switch_model
from tests.model.switch.switch_state import Bounds, State, primary
from tests.operator.cli.test_forced import gone
from tests.operator.sides import Sides

AtStage = Callable[[str], Sides]
NOTES = (None, "host/4711", "superseded by a forced rollback", '{"verb": "abort"}', "[1]", '"text"')
VERBS = {
    None, "preflight", "prepare", "backfill", "verify", "verify --repair", "cutover", "complete", "abort",
    "recover", "resume", "worker", "quarantine list",
}  # fmt: skip
Rows = tuple[int, bool, int, str, int, bool, int]


def _rows(state: State) -> Rows:
    """Both control rows of a state, without what else is in it."""
    return (
        state.s_epoch, state.s_writable, state.s_attempt, state.s_state,
        state.p_epoch, state.p_writable, state.p_attempt,
    )  # fmt: skip


def reachable() -> list[Rows]:
    """The control rows of every state of the switch, and those that a forced rollback makes of them."""
    found = {_rows(state) for state in explore(switch_model(bounds=Bounds(attempts=2))).came_from}
    forced = {(epoch + ahead, True, 0, "", *theirs) for epoch, _, _, _, *theirs in found for ahead in (1, 2)}
    return sorted(found | {rows for rows in forced if rows[0] % 2})  # type: ignore[arg-type]


def _put(sides: Sides, rows: Rows, phase: Phase, note: str | None) -> None:
    s_epoch, s_writable, s_attempt, s_state, p_epoch, p_writable, p_attempt = rows
    sides.control(
        epoch=s_epoch, primary_side=primary(s_epoch), writable=s_writable, phase=NO_PHASE,
        attempt=str(s_attempt) if s_attempt else None, attempt_state=s_state or None,
        attempt_deadline=1.0 if s_attempt else None,
    )  # fmt: skip
    with sides.connect() as connection:
        connection.execute(
            "UPDATE st_control SET epoch = %s, primary_side = %s, writable = %s, phase = %s, attempt = %s, "
            "attempt_state = %s, attempt_deadline = %s, note = %s",
            (
                p_epoch, primary(p_epoch), p_writable, phase, str(p_attempt) if p_attempt else None,
                "begun" if p_attempt else None, 1.0 if p_attempt else None, note,
            ),
        )  # fmt: skip


def test_status_reads_every_state_of_the_models(at_stage: AtStage) -> None:
    sides = at_stage("verified")
    states = reachable()
    assert len(states) > 20
    pair = opening.find_pair(str(sides.path), sides.url)
    with opening.open_stores(pair) as stores:
        for n, rows in enumerate(states):
            phases = tuple(Phase) if n % 10 == 0 else (Phase.REPLICATING,)
            for phase in phases:
                note = NOTES[n % len(NOTES)]
                _put(sides, rows, phase, note)
                found = gather(pair, stores, count_orphans=False)
                following = next_command(found)
                assert following is None or following.removeprefix("st-migrate ") in VERBS
                assert found.as_json()["state"], rows
                if phase is Phase.REPLICATING and (rows[0] != rows[4] or rows[2] or rows[6]):
                    assert blocks(found), (rows, phase, note)


@pytest.mark.parametrize("stage", ["fresh", "prepared", "copied", "verified", "moved", "back"])
def test_status_at_each_stage_with_and_without_postgres(at_stage: AtStage, stage: str) -> None:
    sides = at_stage(stage)
    for where in (sides, gone(sides)):
        answer = where.run("status")
        assert (answer.code, answer.outcome) == (0, "status")
    other = replace(sides, path=at_stage("fresh").path)
    assert other.run("status").code == 0


@pytest.mark.parametrize("verb", ["complete", "abort"])
def test_status_after_the_end(at_stage: AtStage, verb: str) -> None:
    sides = at_stage("moved")
    assert sides.run(verb, "--yes", *([sides.database] if verb == "abort" else [])).code == 0
    for where in (sides, gone(sides)):
        found = where.run("status")
        assert (found.code, found.data["state"]) == (0, "completed")


def test_status_after_a_forced_rollback_and_the_return_of_postgres(at_stage: AtStage) -> None:
    sides = at_stage("moved")
    assert gone(sides).run("rollback", "--force", "--accept-loss").outcome == "forced"
    assert sides.run("recover").outcome == "postgres_superseded"
    answer = sides.run("status")
    assert (answer.code, answer.data["state"], answer.data["next"]) == (
        0,
        "postgres_superseded",
        "st-migrate abort",
    )
    answer = sides.run("prepare")
    assert (answer.code, answer.data["error"]) == (1, "Refused")
    assert "left this PostgreSQL behind" in answer.data["message"]


def test_status_while_sqlite_is_written_and_while_it_is_locked(at_stage: AtStage) -> None:
    sides = at_stage("verified")
    holder = sqlite3.connect(sides.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    assert sides.run("status").code == 0
    holder.execute("ROLLBACK")
    holder.close()
    plain = at_stage("fresh")
    holder = sqlite3.connect(plain.path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    answer = plain.run("status")
    holder.execute("ROLLBACK")
    holder.close()
    assert (answer.code, "locked" in answer.data["message"]) == (3, True)
