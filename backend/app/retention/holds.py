"""Restored rows stay for some time: one note per archive says which and until when."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Table

from app.retention.archive import make_folder, replace

HOLDS: Final = "holds"


def put(folder: Path, name: str, table: Table, ids: Sequence[int], until: datetime) -> None:
    """Keep rows from every run until a time; replaces the note of that name."""
    make_folder(folder / HOLDS)
    note = {"table": table.name, "until": until.isoformat(), "ids": list(ids)}
    replace(folder / HOLDS / f"{name}.json", json.dumps(note))


def held(folder: Path, table: Table, now: datetime) -> frozenset[int]:
    """Ids of restored rows that stay for now."""
    ids: set[int] = set()
    for path in (folder / HOLDS).glob("*.json"):
        hold = json.loads(path.read_text(encoding="utf-8"))
        if hold["table"] == table.name and datetime.fromisoformat(hold["until"]) > now:
            ids.update(hold["ids"])
    return frozenset(ids)
