"""A constraint that is checked at commit only still names the row that it refuses, and stops nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.db.revisions.source.existing import Existing
from migration.verify.run import Verify
from tests.data.dirty.dirty_stage import staged
from tests.support.pairs import connect


@pytest.mark.parametrize("rule", ["UNIQUE (code)", "EXCLUDE USING btree (code WITH =)"])
def test_the_row_is_set_aside(tmp_path: Path, pg_url: str, rule: str) -> None:
    found = f"CREATE TABLE t (id bigint PRIMARY KEY, code text, CONSTRAINT later {rule} DEFERRABLE INITIALLY DEFERRED)"
    with (
        connect(pg_url) as pg,
        staged(tmp_path, pg_url, ["CREATE TABLE t (id INTEGER PRIMARY KEY, code TEXT)"], []) as stage,
    ):
        pg.execute(found.encode())
        stage.source = Existing()
        excluded = rule.startswith("EXCLUDE")  # this one stands while the table is filled
        stage.write(f"INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, '{'a' if excluded else 'c'}')")
        stage.fill()
        assert set(stage.quarantined()) == ({("t", "3")} if excluded else set())
        stage.write("INSERT INTO t VALUES (5, 'b'), (6, 'd')")
        stage.write(
            "UPDATE t SET code = CASE code WHEN 'a' THEN 'd' ELSE 'a' END WHERE id IN (1, 6)"
        )  # they swap
        stage.write("DELETE FROM t WHERE id = 3")
        stage.round()
        assert set(stage.quarantined()) == {("t", "5")}
        assert Verify(stage.applier).run().clean
        stage.write("DELETE FROM t WHERE id = 2")
        stage.write("UPDATE t SET code = 'free' WHERE id = 5")
        stage.round()
        assert stage.quarantined() == {}
        assert pg.execute("SELECT * FROM t ORDER BY id").fetchall() == [(1, "d"), (5, "free"), (6, "a")]
