"""What the keeper shows of the backups, and when it takes one. The drill (make drill) runs it on a real repository."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import pytest

from tests.operator.deploy.servers import DEPLOY

_spec = importlib.util.spec_from_file_location("keeper", DEPLOY / "backup" / "keeper.py")
assert _spec and _spec.loader
keeper = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(keeper)
DAY = 24 * 3600
NOW = 100 * DAY


def repository(*backups: tuple[str, float], code: int = 0, damaged: bool = False) -> dict[str, Any]:
    """What `pgbackrest info` says of backups, each a type and its age in seconds."""
    told = [
        {
            "type": kind,
            "timestamp": {"stop": NOW - age},
            "info": {"repository": {"delta": 7}},
            "error": damaged,
        }
        for kind, age in backups
    ]
    return {"status": {"code": code}, "backup": told}


@pytest.mark.parametrize(
    ("backups", "expected"),
    [
        ((), "full"),
        ((("full", DAY - 1),), None),
        ((("full", DAY),), "incr"),
        ((("full", 7 * DAY - 1), ("incr", 2 * DAY)), "incr"),
        ((("full", 6 * DAY), ("incr", DAY / 2)), None),
        ((("full", 7 * DAY), ("incr", DAY / 2)), "full"),
    ],
)
def test_a_backup_is_due_by_the_age_of_the_last_one(
    backups: tuple[tuple[str, float], ...], expected: str | None
) -> None:
    assert keeper.due(repository(*backups), NOW) == expected


def test_metrics_say_when_and_whether_all_is_well() -> None:
    lines = keeper.text(repository(("full", 3 * DAY), ("incr", DAY), damaged=True)).splitlines()
    assert f'st_backup_finished_seconds{{type="full"}} {NOW - 3 * DAY}' in lines
    assert f'st_backup_finished_seconds{{type="incr"}} {NOW - DAY}' in lines
    assert {"st_backup_readable 1", "st_backup_damaged_pages 1", "st_backup_bytes 7"} <= set(lines)
    shown = {line.partition("{")[0].split()[0] for line in lines if not line.startswith("#")}
    assert shown == set(keeper.METRICS)


@pytest.mark.parametrize("answer", [None, "", "[]", json.dumps([repository(code=3)])])
def test_a_repository_that_cannot_be_asked_is_not_in_order(
    monkeypatch: pytest.MonkeyPatch, answer: str | None
) -> None:
    def run(*_: Any, **__: Any) -> Any:
        if answer is None:
            raise FileNotFoundError("pgbackrest")
        return type("Done", (), {"stdout": answer})

    monkeypatch.setattr(keeper.subprocess, "run", run)
    assert "st_backup_readable 0" in keeper.text(keeper.info()).splitlines()
