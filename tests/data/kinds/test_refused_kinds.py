"""Types without a canonical form, and types that cannot be a key, are refused by the column's name, before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.db.common.errors import SwitchError
from app.db.common.urls import Side
from migration.verify.run import Verify
from tests.data.dirty.dirty_stage import move, staged

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


def test_a_domain_is_the_type_under_it_and_says_itself_what_it_refuses(tmp_path: Path, pg_url: str) -> None:
    with staged(
        tmp_path,
        pg_url,
        ["CREATE TABLE t (id INTEGER PRIMARY KEY, code VARCHAR(9), level TEXT)"],
        [
            "CREATE TYPE fuzz AS ENUM ('low', 'high')",
            "CREATE DOMAIN level AS fuzz NOT NULL",
            "CREATE DOMAIN levels AS level",
            "CREATE DOMAIN number AS bigint CHECK (VALUE > 0)",
            "CREATE DOMAIN code AS varchar(3) CHECK (VALUE <> 'bad')",
            "CREATE TABLE t (id number PRIMARY KEY, code code, level levels)",
        ],
    ) as stage:
        stage.write(
            "INSERT INTO t VALUES (1, 'a', 'low'), (2, 'bad', 'low'), (3, 'long', 'low'), (4, 'b', NULL)"
        )
        stage.fill()
        stage.write("INSERT INTO t VALUES (0, 'a', 'low'), (5, 'c', 'none'), (6, 'd', 'high')")
        stage.round()
        assert {key for _, key in stage.quarantined()} == {"2", "3", "4", "0", "5"}
        stage.write("UPDATE t SET id = id + 10, code = 'x', level = 'high'")
        stage.round()
        assert stage.quarantined() == {}
        move(stage, Side.POSTGRES)
        stage.postgres.execute("UPDATE t SET level = 'low' WHERE id > 12")
        stage.round()
        assert stage.sqlite.execute("SELECT id FROM t WHERE level = 'low' ORDER BY id").fetchall() == [
            (13,),
            (14,),
            (15,),
            (16,),
        ]
        assert Verify(stage.applier).run().clean
