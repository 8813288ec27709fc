"""docs/protocol.md names every failpoint of the code and every action of the models, docs/gates.md every gate."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.db.common.failpoints import Failpoint
from app.db.switch import gates
from app.db.switch.recover import Recovered
from tests.model.copy_model import copy_model
from tests.model.explorer import explore
from tests.model.strict_model import strict_model
from tests.model.switch.switch_model import switch_model
from tests.model.switch.switch_state import Bounds

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXT = re.sub(r"\s+", " ", (DOCS / "protocol.md").read_text(encoding="utf-8"))
# Dotted names that are not failpoints: files, and calls.
_NOT_POINTS = re.compile(r"\.(py|md|move|round)$")


@pytest.mark.parametrize("point", list(Failpoint))
def test_every_failpoint_is_explained(point: Failpoint) -> None:
    assert f"`{point}`" in TEXT


def test_no_failpoint_is_explained_that_the_code_does_not_have() -> None:
    named = {name for name in re.findall(r"`([A-Za-z_]+\.[a-z_]+)`", TEXT) if not _NOT_POINTS.search(name)}
    assert named == {str(point) for point in Failpoint}


@pytest.mark.parametrize("result", list(Recovered))
def test_every_result_of_recover_is_in_the_decision_table(result: Recovered) -> None:
    assert f"`{result}`" in TEXT


def test_every_action_of_the_models_is_named() -> None:
    actions = (
        explore(switch_model(bounds=Bounds(attempts=2))).actions
        | explore(switch_model(bounds=Bounds(writes=1, attempts=2, coordinators=1, migrations=1))).actions
        | explore(copy_model()).actions
        | explore(strict_model()).actions
    )
    named = {re.sub(r"^coordinator killed at .*", "coordinator killed at", action) for action in actions}
    assert sorted(action for action in named if action not in TEXT) == []


def test_every_gate_has_its_row_in_the_order_in_which_it_is_asked() -> None:
    page = (DOCS / "gates.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)`", page, re.MULTILINE) == list(gates.NAMES)
