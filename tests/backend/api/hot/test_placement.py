"""Where tables would lie on shards: the placements are complete, agree with each other, and stand in the document."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import app.models  # noqa: F401  # fills the metadata
from app.db.base import Base
from app.native.placement import PLACEMENTS, Place, obstacles, shard_schema

PAGE = (Path(__file__).resolve().parents[4] / "docs" / "scaling-out.md").read_text(encoding="utf-8")
SPREAD = [name for name, placement in PLACEMENTS.items() if placement.place is Place.SPREAD]


def test_every_table_of_the_models_has_a_place() -> None:
    assert set(PLACEMENTS) == set(Base.metadata.tables)


def test_no_key_leads_to_a_place_that_it_cannot_reach() -> None:
    """What is left are keys that lack a column; with the column they hold on one shard."""
    found = obstacles(Base.metadata)
    assert [line for line in found if "which is" in line or "on another shard" in line] == []


def test_the_document_has_every_table_and_every_obstacle() -> None:
    listed = re.search(r"<!-- obstacles -->\n```\n(.*?)\n```", PAGE, re.DOTALL)
    assert listed
    assert listed[1].splitlines() == obstacles(Base.metadata)
    assert set(PLACEMENTS) <= set(re.findall(r"`(\w+)`", PAGE))


@pytest.mark.parametrize("table", SPREAD)
def test_every_key_of_a_shard_contains_what_chose_the_shard(table: str) -> None:
    made = shard_schema(Base.metadata).tables[table]
    key = made.c[PLACEMENTS[table].key]
    assert not key.nullable
    for unique in made.constraints:
        if type(unique).__name__ in ("PrimaryKeyConstraint", "UniqueConstraint"):
            assert key.name in {column.name for column in unique.columns}  # type: ignore[attr-defined]
    for foreign in made.foreign_key_constraints:
        if foreign.referred_table.name in SPREAD:
            assert key.name in foreign.column_keys
