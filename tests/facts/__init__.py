"""Facts about the application that a test compares our part of it with; the README says what each file holds.

A file leaves out what is usual. The functions here put it back, so that a test sees complete rows.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
Revision = dict[str, Any]
USUAL_PARTS: dict[str, dict[str, Any]] = {
    "columns": {"nullable": True, "default": None, "pk": 0},
    "foreign_keys": {
        "name": None, "ref_columns": ["id"], "on_delete": "NO ACTION", "on_update": "NO ACTION",
    },
    "unique_constraints": {},
    "check_constraints": {},
    "indexes": {"unique": False},
}  # fmt: skip


def _read(name: str) -> Any:
    return json.loads((FOLDER / name).read_text("utf-8"))


def names() -> dict[str, dict[str, list[str] | None]]:
    """Module -> name -> the function's parameters, None for other things; those after "*" are keyword only."""
    return _read("names.json")


def drift() -> set[tuple[str, ...]]:
    """How the ORM's tables differ from the chain's on SQLite: (kind of difference, table, which one)."""
    return {(kind, *item) for kind, items in _read("drift.json").items() for item in items}


def keys() -> list[tuple[str, str]]:
    """Keys of deliveries, and the payload of each as it was stored when the key was made."""
    return [(key, payload) for key, payload in _read("keys.json")]


@cache
def revisions() -> list[Revision]:
    """The revisions in upgrade order, with what each adds to and changes in a SQLite schema."""
    found = _read("revisions.json")
    for revision in found:
        for table in revision.setdefault("added_tables", {}).values():
            for kind in USUAL_PARTS:
                table[kind] = _with_usual(kind, table.get(kind, []))
        for changes in revision.setdefault("altered_tables", {}).values():
            for change, items in changes.items():
                kind = change.partition("_")[2]
                changes[change] = _with_usual(kind, items)
    return found


def _with_usual(kind: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [USUAL_PARTS[kind] | item for item in items]


@cache
def webhook() -> dict[str, Any]:
    """`fixture`: the rows that each case starts from. `cases`: requests, their answers and the rows they leave."""
    found = _read("webhook.json")
    for case in found["cases"]:
        case["requests"] = [found["usual_request"] | request for request in case["requests"]]
        left = case.get("expected_rows", {})
        case["expected_rows"] = {
            table: [usual | row for row in left.get(table, [])]
            for table, usual in found["usual_rows"].items()
        }
    return found
