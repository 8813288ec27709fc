"""A form is learnt only from texts that have a canonical form, and can be written again: offsets, and base64."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from app.db.common.errors import UnsupportedValue
from app.db.rows.canonical import encode
from app.db.rows.catalog import Column, Table
from app.db.rows.kinds import Kind
from app.db.rows.policy import active_policy
from app.db.rows.spelling import Spelling, to_sqlite, to_sqlite_column
from app.db.sides.sqlite.spellings import of_column

READ = ["", "Z", "+00", "-00:00", "+05", "-03", "+05:30", "+0530", " +05", " -0330", "+14:00"]
NOT_READ = ["z", "UTC", "+5", "+053", "+24:00", "+05:30:15"]
CANONICAL = {
    Kind.INSTANT: ["2026-02-01 11:00:00.000000+00", "2026-02-01 11:00:00.250000+00"],
    Kind.INTERVAL: ["39600000000 microseconds", "-1 microseconds"],
}


@pytest.mark.parametrize("kind", CANONICAL)
@pytest.mark.parametrize("offset", READ + NOT_READ)
def test_new_values_have_the_meaning_that_they_had(kind: Kind, offset: str) -> None:
    column = Column("c", kind, "", True)
    table = Table("t", (column,), (column,))
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t (c)")
        stored = [f"2026-01-0{n} 10:00:00{offset}" for n in range(1, 6)] + ["2026-01-01 10:00:00"]
        connection.executemany("INSERT INTO t VALUES (?)", [(text,) for text in stored])
        learnt = of_column(connection, table, column)
    is_read = offset in READ and (kind is Kind.INSTANT or not offset)
    for n, canonical in enumerate(CANONICAL[kind]):
        written = to_sqlite(kind, canonical, learnt)
        assert encode(kind, written) == canonical
        assert to_sqlite_column(kind, CANONICAL[kind], learnt)[n] == written
        assert str(written).endswith(offset if is_read else "")
    if not is_read:
        with pytest.raises(UnsupportedValue):
            encode(kind, stored[0])
        assert learnt is not None and learnt.mixed


def test_a_form_that_an_earlier_version_learnt_stops_nothing() -> None:
    learnt = Spelling(" 0+05:30:15")
    with pytest.raises(UnsupportedValue, match="no offset"):
        to_sqlite_column(Kind.INSTANT, CANONICAL[Kind.INSTANT], learnt, "c")


def test_texts_that_another_policy_reads_first_are_no_base64(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = tmp_path / "migration.toml"
    chosen.write_text("[tables.t]\nc = ['text_as_blob', 'base64_as_blob']\n")
    monkeypatch.setenv("ST_MIGRATION_CONFIG", str(chosen))
    active_policy.cache_clear()
    key, column = Column("id", Kind.INTEGER, "", False), Column("c", Kind.BLOB, "", True)
    try:
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.execute("CREATE TABLE t (id, c)")
            connection.execute("INSERT INTO t VALUES (1, 'AP8A')")
            assert of_column(connection, Table("t", (key, column), (key,)), column) is None
    finally:
        active_policy.cache_clear()
