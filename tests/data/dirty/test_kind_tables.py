"""Every table by column kind says something of every kind, so that a new kind is forgotten nowhere."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import pytest

import app.db
import migration
from app.db.rows import kinds
from app.db.rows.canonical import encode, encode_column
from app.db.rows.conversions import CONVERSIONS
from app.db.rows.kinds import CASTS, KEY_TYPES, POSTGRES_KINDS, Kind
from app.db.rows.spelling import to_sqlite
from migration.fill.binary import fields as binary
from migration.preflight.findings.shapes import declared_kind
from tests.data.dirty.dirty_stage import KINDS

# A declared SQLite type, a value as SQLite stores it, its canonical text, the value as PostgreSQL's reader yields it.
EXAMPLES: dict[Kind, tuple[str, Any, str, Any]] = {
    Kind.INTEGER: ("BIGINT", 7, "7", 7),
    Kind.FLOAT: ("FLOAT", 0.5, "0.5", 0.5),
    Kind.REAL: ("FLOAT4", 0.1, "0.10000000149011612", 0.10000000149011612),
    Kind.BOOLEAN: ("BOOLEAN", 1, "t", True),
    Kind.TEXT: ("VARCHAR(20)", "x", "x", "x"),
    Kind.TIMESTAMP: (
        "DATETIME",
        "2026-01-05 10:00:00.500000",
        "2026-01-05 10:00:00.500000",
        "2026-01-05 10:00:00.5",
    ),
    Kind.DATE: ("DATE", "2026-01-05", "2026-01-05", "2026-01-05"),
    Kind.TIME: ("TIME", "10:00:00.500000", "10:00:00.500000", "10:00:00.5"),
    Kind.BLOB: ("BLOB", b"\xff", "\\xff", b"\xff"),
    Kind.NUMERIC: ("NUMERIC(10, 2)", "1.5", "1.5", "1.5"),
    Kind.UUID: (
        "UUID",
        "0" * 31 + "a",
        "00000000-0000-0000-0000-00000000000a",
        "00000000-0000-0000-0000-00000000000a",
    ),
    Kind.INSTANT: (
        "TIMESTAMPTZ",
        "2026-01-05 10:00:00.500000",
        "2026-01-05 10:00:00.500000+00",
        "2026-01-05 10:00:00.5",
    ),
    Kind.INTERVAL: ("INTERVAL", "1970-01-01 00:00:01.500000", "1500000 microseconds", "1500000 microseconds"),
    Kind.JSON: ("JSON", '{"b":1,  "a":2}', '{"b":1,  "a":2}', '{"b":1,  "a":2}'),
    Kind.JSONB: ("JSONB", '{"a": 2, "b": 1.50}', '{"a":2,"b":1.5}', '{"a": 2, "b": 1.50}'),
    Kind.ADDRESS: ("INET", "2001:db8::1", "2001:db8::1", "2001:db8::1"),
}


def modules(package: ModuleType) -> list[ModuleType]:
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return [importlib.import_module(item.name) for item in found if not item.name.endswith("__main__")]


def kind_tables() -> dict[str, Mapping[Kind, Any]]:
    """Every dict by kind in the code, by the name of the module that makes it."""
    tables: dict[str, Mapping[Kind, Any]] = {f"{__name__}.EXAMPLES": EXAMPLES}
    seen: set[int] = set()
    for module in [kinds, *modules(app.db), *modules(migration)]:
        for name, value in vars(module).items():
            if (
                isinstance(value, dict)
                and value
                and isinstance(next(iter(value)), Kind)
                and id(value) not in seen
            ):
                seen.add(id(value))
                tables[f"{module.__name__}.{name}"] = value
    return tables


TABLES = kind_tables()


@pytest.mark.parametrize("name", TABLES)
def test_a_table_says_something_of_every_kind(name: str) -> None:
    missing = [kind.value for kind in Kind if kind not in TABLES[name]]
    assert not missing, f"{name} says nothing of the kind {', '.join(missing)}"


def test_the_tables_are_found() -> None:
    names = {name.removeprefix("app.db.").rpartition(".")[0] for name in TABLES}
    assert names >= {
        "rows.canonical.values",
        "rows.canonical.columns",
        "sides.postgres.source",
        "migration.fill.binary.fields",
        "migration.verify.chunks",
    }


@pytest.mark.parametrize("kind", Kind)
def test_a_kind_has_types_conversions_and_one_canonical_form(kind: Kind) -> None:
    assert kind in POSTGRES_KINDS.values(), "rows.kinds.POSTGRES_KINDS: no type has the kind"
    assert f"c_{kind.value}" in KINDS, "tests.data.dirty.dirty_stage.KINDS: no column of the kind"
    assert any(kind in item.kinds for item in CONVERSIONS.values()), "rows.conversions.CONVERSIONS: none fits"
    declared, stored, text, read = EXAMPLES[kind]
    assert declared_kind(declared) is kind
    assert encode(kind, stored) == text
    assert (encode_column(kind, [stored, None]) or [text, None]) == [text, None]
    assert to_sqlite(kind, read) == stored


@pytest.mark.parametrize("kind", [kind for kind, cast in KEY_TYPES.items() if cast])
def test_a_key_may_have_types_of_its_kind_only(kind: Kind) -> None:
    assert POSTGRES_KINDS[str(KEY_TYPES[kind])] is kind


@pytest.mark.parametrize(
    ("cast", "kind"), [(CASTS.get(name, name), kind) for name, kind in POSTGRES_KINDS.items()]
)
def test_a_type_is_copied_in_binary_where_its_kind_is(cast: str, kind: Kind) -> None:
    has_form = binary.CANONICAL[kind] is not None
    assert (cast in binary.WIDTHS) == has_form, (
        f"migration.fill.binary.fields: WIDTHS and CANONICAL differ about {cast}"
    )
