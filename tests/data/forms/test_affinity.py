"""What SQLite's column would make another value of is set aside on its way there. An unchanged value keeps each byte."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.db.common.errors import SwitchError
from app.db.common.settings import load_settings
from app.db.common.urls import Side
from app.db.session.strict import StrictWriter
from app.db.sides.stores import Stores
from migration.verify.run import Verify
from tests.data.dirty.dirty_stage import move, staged
from tests.support.pairs import connect

# SQLite's declared type, PostgreSQL's type, the values that SQLite keeps, and those of which it would make others.
COLUMNS = (
    ("STRING", "text", ("abc", "", "0x10", "1_0"), ("00123", "1e5", " 12 ", "7", "99999999999999999999")),
    ("NUMERIC", "varchar(30)", ("a7",), ("1.10",)),
    ("UUID", "uuid", ("abcdef00-0000-0000-0000-00000000000f",), ("00000000-0000-0000-0000-000000000001",)),
    ("TEXT", "bigint", (), ("5", "-7")),
    ("TEXT", "boolean", (), ("t",)),
    ("BOOLEAN", "boolean", ("t", "f"), ()),
    ("TEXT", "double precision", (), ("1.5",)),
    ("INT", "double precision", ("1", "2.5"), ()),
    ("REAL", "bigint", (), ("3",)),
    ("REAL", "numeric", ("2.5", "3"), ("9007199254740993",)),
    ("NUMERIC", "bigint", ("3",), ()),
    ("TEXT", "text", ("00123",), ()),
    ("ANY", "text", ("00123",), ()),
)


def test_what_the_column_would_change_is_set_aside(tmp_path: Path, pg_url: str) -> None:
    names = [(f"t{n}", f"k{n}", *column) for n, column in enumerate(COLUMNS)]
    ours = [f"CREATE TABLE {t} (id INTEGER PRIMARY KEY, v {lite}){_strict(lite)}" for t, _, lite, *_ in names]
    theirs = [f"CREATE TABLE {t} (id bigint PRIMARY KEY, v {pg})" for t, _, _, pg, *_ in names]
    ours += [
        f"CREATE TABLE {k} (v {lite} NOT NULL PRIMARY KEY, id INTEGER){_strict(lite)}"
        for _, k, lite, *_ in names
    ]
    theirs += [f"CREATE TABLE {k} (v {pg} PRIMARY KEY, id bigint)" for _, k, _, pg, *_ in names]
    with staged(tmp_path, pg_url, ours, theirs) as stage:
        stage.fill()
        assert Verify(stage.applier).run().clean
        move(stage, Side.POSTGRES)
        refused = set()
        for plain, key, _, _, kept, changed in names:
            for number, value in enumerate((*kept, *changed), 1):
                for table in (plain, key):
                    statement = f"INSERT INTO {table} (id, v) VALUES ({number}, %s)"
                    stage.postgres.execute(statement.encode(), (value,))
            refused |= {(plain, str(len(kept) + n)) for n in range(1, len(changed) + 1)}
            refused |= {(key, value) for value in changed}
        stage.round()
        held = stage.quarantined()
        assert held.keys() == refused
        assert all("in SQLite's column, which has" in reason for _, reason, _ in held.values())
        found = Verify(stage.applier).run()
        assert (found.clean, found.set_aside) == (True, len(refused))
        stage.postgres.execute(b"DELETE FROM t0; DELETE FROM k0")
        stage.round()
        assert {table for table, _ in stage.quarantined()}.isdisjoint({"t0", "k0"})
        assert stage.sqlite.execute("SELECT count(*) FROM t0, k0").fetchone() == (0,)


def test_strict_mode_refuses_such_a_value(tmp_path: Path, pg_url: str) -> None:
    tables = (
        ["CREATE TABLE t (id INTEGER PRIMARY KEY, v STRING)"],
        ["CREATE TABLE t (id bigint PRIMARY KEY, v text)"],
    )
    with staged(tmp_path, pg_url, *tables) as stage, connect(pg_url) as raw:
        stage.fill()
        move(stage, Side.POSTGRES)
        writer = StrictWriter(lambda name: Stores.open(stage.pair, load_settings()))
        session: Any = SimpleNamespace(connection=SimpleNamespace(dbapi_connection=raw))
        raw.execute("BEGIN; INSERT INTO t VALUES (1, '00123')")
        with pytest.raises(SwitchError, match="the shadow cannot hold a row of t"):
            writer.announce(session)
        writer.close()
        raw.execute("ROLLBACK")
        stage.round()
        assert (stage.quarantined(), stage.mismatches("t")) == ({}, [])


# SQLite's declared type, PostgreSQL's type, the policy, and values as SQLite's literals.
UNCHANGED = (
    ("TEXT", "text", "replace_invalid_utf8", ("CAST(x'61FF' AS TEXT)", "'a'")),
    ("BLOB", "bytea", "text_as_blob", ("CAST(x'61FF' AS TEXT)", "x'61'", "'a'")),
    ("", "bigint", "integral_real", ("5.0", "5")),
    ("", "double precision", "", ("5", "5.0", "0.1")),
    ("", "numeric", "", ("5", "1.5", "'1.50'")),
    ("", "real", "", ("5", "0.5")),
)


def test_an_unchanged_value_keeps_every_byte(tmp_path: Path, pg_url: str) -> None:
    names = [(f"t{n}", *column) for n, column in enumerate(UNCHANGED)]
    ours = [f"CREATE TABLE {t} (id INTEGER PRIMARY KEY, v {lite}, w INTEGER)" for t, lite, *_ in names]
    theirs = [f"CREATE TABLE {t} (id bigint PRIMARY KEY, v {pg}, w bigint)" for t, _, pg, *_ in names]
    choices = "".join(f'[tables.{t}]\nv = "{policy}"\n' for t, *_, policy, _ in names if policy)
    with staged(tmp_path, pg_url, ours, theirs, choices) as stage:
        for table, *_, literals in names:
            stage.write(*(f"INSERT INTO {table} (v) VALUES ({literal})" for literal in literals))
        stage.fill()
        assert not stage.quarantined()
        assert Verify(stage.applier).run().clean
        every = " UNION ALL ".join(f"SELECT '{t}', id, typeof(v), hex(v) FROM {t}" for t, *_ in names)
        before = stage.sqlite.execute(every).fetchall()
        move(stage, Side.POSTGRES)
        for table, *_ in names:
            stage.postgres.execute(f"UPDATE {table} SET w = 1".encode())
        stage.round()
        assert stage.sqlite.execute(every).fetchall() == before
        assert stage.sqlite.execute("SELECT min(w) FROM t0").fetchone() == (1,)
        assert Verify(stage.applier).run().clean


def _strict(declared: str) -> str:
    return " STRICT" if declared == "ANY" else ""
