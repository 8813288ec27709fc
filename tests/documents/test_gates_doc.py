"""docs/gates.md has a row for each gate, in the order in which the gates are asked."""

from __future__ import annotations

import re
from pathlib import Path

from app.db.switch import gates

PAGE = Path(__file__).resolve().parents[2] / "docs" / "gates.md"


def test_every_gate_has_its_row_in_order() -> None:
    asked = list(gates.NAMES)
    assert re.findall(r"^\| `(\w+)`", PAGE.read_text(encoding="utf-8"), re.MULTILINE) == asked
