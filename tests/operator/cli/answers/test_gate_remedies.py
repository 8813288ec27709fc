"""What a closed gate tells one to do is done here to the letter, and opens the gate."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from app.core.config import BACKEND_DIR, Settings
from app.db.common import settings
from app.db.switch.gates import NAMES
from app.db.switch.state import space
from app.retention.run import archive_folder
from tests.operator.sides import ALERTS, Answer, Sides

AtStage = Callable[[str], Sides]
Act = Callable[[Sides, dict[str, Any]], object]
_COMMAND = re.compile(r"st-migrate ((?:[a-z]+)(?: (?:--[a-z-]+|upgrade|list|retry))*)")
NOBODY_NOTICES = "SELECT set_config('st.applying', epoch::text, false) FROM st_control"


def quietly(statement: str) -> str:
    """A statement on PostgreSQL that passes fence and capture, as damage would."""
    return f"{NOBODY_NOTICES}; {statement}"


@dataclass(frozen=True)
class Closed:
    """How a gate comes to be closed, and what its remedy asks for besides commands.

    `options`: of the command that asks the gates, before and after.
    """

    stage: str
    breaking: Callable[[Sides], object]
    by_hand: Act = lambda sides, gate: None
    before: tuple[str, ...] = ("cutover",)
    after: tuple[str, ...] = ("cutover",)
    says: str = field(default="")


def drop_an_index(sides: Sides) -> None:
    ((name,), *_) = sides.postgres(
        "SELECT name FROM st_deferred_ddl WHERE kind = 'index' AND tbl = 'alerts' ORDER BY name"
    )
    sides.postgres(f'DROP INDEX "{name}"')


def create_what_is_named(sides: Sides, gate: dict[str, Any]) -> None:
    for definition, name in sides.postgres(
        "SELECT definition, name FROM st_deferred_ddl WHERE kind = 'index'"
    ):
        if name in gate["detail"]:
            sides.postgres(definition)


def end_of_range(sides: Sides) -> None:
    sides.sqlite(
        "INSERT INTO alerts (id, symbol, action, raw_payload) VALUES (9223372036854775807, 'X', 'BUY', '{}')"
    )


def fall_behind(sides: Sides) -> None:
    assert sides.run("pause").code == 0
    for _ in range(10_000 // ALERTS + 1):  # few keys, many entries
        sides.sqlite("UPDATE alerts SET qty = qty + 1")


def capture_that_does_nothing(sides: Sides) -> None:
    table = next(g for g in gates(sides.run("cutover", "--dry-run")) if g["name"] == "reverse")[
        "detail"
    ].split()[0]
    ((loud,),) = sides.postgres(f"SELECT pg_get_functiondef('st_capture_{table}'::regproc)")
    sides.postgres(
        loud[: loud.index("BEGIN")]
        + f"BEGIN RETURN NULL; /* st_admit() SELECT '{table}', \"id\" */ END $function$"
    )


CASES: dict[str, Closed] = {
    "phase": Closed("prepared", lambda sides: None),
    "columns": Closed(
        "verified", lambda sides: sides.postgres("ALTER TABLE alerts ALTER symbol TYPE varchar(50)")
    ),
    "capture": Closed("verified", lambda sides: sides.postgres("DROP TRIGGER st_capture_update ON alerts")),
    "indexes": Closed(
        "verified",
        drop_an_index,
        create_what_is_named,
        says="create what is named",
    ),
    "quarantine": Closed(
        "verified",
        lambda sides: (
            sides.sqlite("UPDATE alerts SET qty = 'many' WHERE id = 5"),
            sides.run("worker", "--until-drained"),
        ),
        lambda sides, gate: (
            sides.sqlite("UPDATE alerts SET qty = 4 WHERE id = 5"),
            sides.run("worker", "--until-drained"),  # as a living pair does by itself
        ),
        says="fix or accept",
    ),
    "verify": Closed("copied", lambda sides: None),
    "lag": Closed("verified", fall_behind),
    "sequences": Closed(
        "verified",
        end_of_range,
        lambda sides, gate: sides.sqlite("UPDATE alerts SET id = 500 WHERE id = 9223372036854775807"),
        says="give what is named another id",
    ),
    "changes": Closed(
        "verified",
        lambda sides: (
            sides.sqlite("UPDATE alerts SET qty = 9 WHERE id = 7"),
            sides.run("worker", "--until-drained"),
            sides.postgres(quietly("UPDATE alerts SET qty = 8 WHERE id = 7")),
        ),
    ),
    "pause": Closed(
        "verified",
        lambda sides: None,
        before=("cutover", "--max-pause-ms", "1"),
        after=("cutover", "--max-pause-ms", "60000"),
        says="--max-pause-ms",
    ),
    "reverse": Closed("verified", capture_that_does_nothing),
}
ELSEWHERE = {
    "direction": "the command itself answers that the side is primary already",
    "attempt": "every command recovers first; tests/core/switch/test_switch_kill",
    "file": "people put the newer file back; tests/core/outage/replaced/test_replaced_file",
    "writable": "every command recovers first; tests/core/switch/test_two_writable_sides",
    "space": "test_a_disk_without_room_closes_the_gate, below",
    "schema": "test_status_and_gates, and tests/data/schema/agree/test_sides_agree",
}


def gates(answer: Answer) -> list[dict[str, Any]]:
    return list(answer.data["gates"])


def test_every_gate_has_a_case() -> None:
    assert set(NAMES) == CASES.keys() | ELSEWHERE.keys()


@pytest.mark.parametrize("name", CASES)
def test_the_remedy_of_a_closed_gate_opens_it(at_stage: AtStage, name: str) -> None:
    case = CASES[name]
    sides = at_stage(case.stage)
    case.breaking(sides)
    (gate,) = [gate for gate in gates(sides.run(*case.before, "--dry-run")) if gate["name"] == name]
    assert not gate["ok"], gate
    commands = _COMMAND.findall(gate["remedy"])
    assert commands or case.says, gate["remedy"]
    assert case.says in gate["remedy"]
    for command in commands:
        answer = sides.run(*command.split())
        assert answer.code in (0, 1), answer
    case.by_hand(sides, gate)
    (gate,) = [gate for gate in gates(sides.run(*case.after, "--dry-run")) if gate["name"] == name]
    assert gate["ok"], gate


def test_the_log_and_the_folder_of_archives_need_room_too(
    at_stage: AtStage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sides = at_stage("verified")
    monkeypatch.setenv("ST_RETENTION_DIR", str(tmp_path))
    (gate,) = [gate for gate in gates(sides.run("cutover", "--dry-run")) if gate["name"] == "space"]
    assert gate["ok"] and f"are free in {tmp_path} (archives)" in gate["detail"]
    monkeypatch.setattr(space, "ENTRY_BYTES", 1 << 60)
    sides.sqlite("UPDATE alerts SET qty = 3 WHERE id = 2")
    (gate,) = [gate for gate in gates(sides.run("cutover", "--dry-run")) if gate["name"] == "space"]
    assert "are needed" in gate["detail"] and "(archives)" not in gate["detail"]
    assert sides.run("status").data["next"] is None  # no command makes room


def test_the_usual_folder_of_archives_is_looked_at(
    at_stage: AtStage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sides = at_stage("verified")
    monkeypatch.delenv("ST_RETENTION_DIR", raising=False)
    monkeypatch.setattr(settings, "_BACKEND", tmp_path)
    assert archive_folder(Settings()) == BACKEND_DIR / "archive"  # what the application takes
    for there in (False, True):
        if there:
            (tmp_path / "archive").mkdir()
        (gate,) = [gate for gate in gates(sides.run("cutover", "--dry-run")) if gate["name"] == "space"]
        assert (f"are free in {tmp_path / 'archive'} (archives)" in gate["detail"]) is there


def test_a_disk_without_room_closes_the_gate(at_stage: AtStage, monkeypatch: pytest.MonkeyPatch) -> None:
    sides = at_stage("verified")
    monkeypatch.setenv("ST_MIN_FREE_MB", "999999999")
    answer = sides.run("cutover")
    assert (answer.code, answer.data["error"]) == (1, "Refused")
    assert "are free in" in answer.data["reasons"][0] and "make room" in answer.data["hint"]
    assert any("are needed" in line for line in sides.run("status").data["blocks"])
    monkeypatch.delenv("ST_MIN_FREE_MB")
    assert sides.run("cutover").outcome == "moved"
