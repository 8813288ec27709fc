"""The cases of the `cases` folder, read and checked for typing errors."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from tests.data.dirty.dirty_stage import KINDS

CASES = Path(__file__).parent / "cases"
COLUMNS = (*KINDS, "c_required")


@dataclass(frozen=True)
class Value:
    """One stored value; its row's id is its place among all cases."""

    id: int
    name: str
    column: str
    sql: str
    finding: str = ""
    reason: str = ""
    arrives: Any = None
    policies: dict[str, Any] = field(default_factory=dict)

    @property
    def fails(self) -> bool:
        return self.name.startswith("fail_")


@dataclass(frozen=True)
class SchemaCase:
    """Statements for an SQLite file, and what preflight must say of it."""

    name: str
    sqlite: list[str]
    finding: str
    reason: str = ""


def _sections(pattern: str) -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []
    for path in sorted(CASES.glob(pattern)):
        found += tomllib.loads(path.read_text(encoding="utf-8")).items()
    return found


@lru_cache(maxsize=1)
def values() -> list[Value]:
    """Every value case, numbered from 1."""
    cases = [Value(n, name, **fields) for n, (name, fields) in enumerate(_sections("values_*.toml"), 1)]
    names = [case.name for case in cases]
    assert len(set(names)) == len(names), "two cases have one name"
    for case in cases:
        assert case.column in COLUMNS, f"{case.name}: unknown column {case.column}"
        assert case.fails == bool(case.reason), f"{case.name}: reason belongs to fail_ cases, and only there"
    return cases


@lru_cache(maxsize=1)
def schemas() -> list[SchemaCase]:
    """Every schema case."""
    return [SchemaCase(name, **fields) for name, fields in _sections("schemas.toml")]


def chosen() -> list[tuple[Value, str]]:
    """Every pair of a value and a policy that must convert it."""
    return [(case, policy) for case in values() for policy in case.policies]
