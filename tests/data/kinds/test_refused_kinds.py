"""Types without a canonical form, and types that cannot be a key, are refused by the column's name, before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.db.common.errors import SwitchError
from tests.data.dirty.dirty_stage import staged

WITHOUT_FORM = [
    "integer[]",
    "text[]",
    "money",
    "xml",
    "int4range",
    "time with time zone",
    "point",
    "bit(8)",
]
NO_KEY = ["json", "jsonb", "citext"]


@pytest.mark.parametrize("kind", WITHOUT_FORM)
def test_a_type_without_a_form_is_named(tmp_path: Path, pg_url: str, kind: str) -> None:
    with staged(
        tmp_path,
        pg_url,
        ["CREATE TABLE t (id INTEGER PRIMARY KEY, odd TEXT)"],
        [f"CREATE TABLE t (id bigint PRIMARY KEY, odd {kind})"],
    ) as stage:
        with pytest.raises(SwitchError, match=r"t\.odd") as caught:
            stage.prepare()
        assert kind.partition("(")[0] in str(caught.value)


@pytest.mark.parametrize("kind", NO_KEY)
def test_a_type_that_cannot_be_a_key_is_named(tmp_path: Path, pg_url: str, kind: str) -> None:
    key = f"id {kind} PRIMARY KEY" if kind != "json" else "id json NOT NULL"
    with staged(
        tmp_path,
        pg_url,
        ["CREATE TABLE t (id TEXT PRIMARY KEY, v TEXT)"],
        ["CREATE EXTENSION citext", f"CREATE TABLE t ({key}, v text)"],
    ) as stage:
        with pytest.raises(SwitchError, match=r"t\.id|table t ") as caught:
            stage.prepare()
        assert "key" in str(caught.value)
