"""Who writes the control row: one folder, and each of its statements says what its caller believes.

Who takes a lock: one module, so that the order of all of them can be read in one place.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "backend" / "app" / "db" / "sides" / "control"
_HOME = HOME.relative_to(ROOT).as_posix()
_WRITES = re.compile(r"(?:UPDATE|INTO|DELETE\s+FROM)\s+st_control\b", re.I)
_READS = re.compile(r"(?:FROM|JOIN)\s+st_control\b", re.I)
# They read the row in one query with something else.
_READERS = {
    "backend/app/db/sides/capture/inventory.py",
    "backend/app/db/sides/locks.py",  # a condition for triggers of the application
}
# What a caller knows of the row that it changes. The applier's mark is seen by its own transaction only.
_GUARDS = re.compile(r"\b(?:attempt|epoch|pair|applying) (?:=|<) (?:%s|\?)")


# A setting of our own, an advisory lock of any kind, the row that is the rounds' lock.
_LOCKS = re.compile(
    r"['\"]st\.applying|pg_\w*advisory|FROM st_watermark[^\"]*FOR (?:UPDATE|SHARE)|SET applying"
)


def _named(pattern: re.Pattern[str], *endings: str) -> set[str]:
    files = [
        path
        for top in ("backend/app/db", "migration")
        for ending in endings
        for path in (ROOT / top).rglob(f"*.{ending}")
    ]
    assert len(files) > 1
    return {
        path.relative_to(ROOT).as_posix()
        for path in files
        if pattern.search(path.read_text(encoding="utf-8"))
    }


def _updates() -> list[str]:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in HOME.glob("*.py")]
    texts = [node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return [text for text in texts if isinstance(text, str) and text.startswith("UPDATE st_control")]


def test_one_module_writes_the_control_row() -> None:
    assert _named(_WRITES, "py", "sql") == {f"{_HOME}/writes.py"}


def test_one_module_reads_the_control_row_besides_the_triggers() -> None:
    assert _named(_READS, "py") == {f"{_HOME}/row.py", *_READERS}


def test_every_update_is_guarded() -> None:
    updates = _updates()
    assert len(updates) > 10
    assert [text for text in updates if not _GUARDS.search(text.partition(" WHERE ")[2])] == []


def test_one_module_spells_the_locks() -> None:
    assert _named(_LOCKS, "py") == {f"{_HOME}/writes.py", "backend/app/db/sides/locks.py"}
