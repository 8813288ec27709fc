"""Values and schemas on which a copy could go wrong without a word: each is refused by name or kept whole."""

from __future__ import annotations

import sqlite3
from decimal import Decimal

import psycopg
import pytest

from app.db.apply.outcome import Round
from app.db.common.errors import Refused, SchemaDrift
from app.db.common.urls import Side
from app.db.rows.canonical import encode
from app.db.rows.catalog import sqlite_keys
from app.db.rows.kinds import Kind
from app.db.sides.capture.triggers import install_sqlite
from app.db.sides.control import claim_sqlite
from app.db.sides.postgres.target import COPY_FROM
from app.db.sides.tables import create_statements
from app.db.switch.state.checks import Checks
from tests.support.pairs import PlainTables, TestPair


@pytest.mark.parametrize("rows", [1, COPY_FROM], ids=["pipelined", "by_copy"])
def test_a_text_longer_than_its_column_is_never_cut(fresh: TestPair, rows: int) -> None:
    """A cast to varchar(n) cuts; an assignment refuses. The row is kept in quarantine and comes back."""
    fresh.prepare()
    fresh.pg.execute("ALTER TABLE loan ALTER COLUMN v TYPE varchar(5)")
    fresh.backfill()
    fresh.lite.execute("BEGIN")
    for n in range(rows):
        fresh.lite.execute("INSERT INTO loan (id, v) VALUES (?, ?)", (100 + n, "short" if n else "too long"))
    fresh.lite.execute("COMMIT")
    assert fresh.drain().refused == 1
    assert fresh.pg.execute("SELECT tbl, k FROM st_quarantine").fetchall() == [("loan", "100")]
    assert fresh.pg.execute("SELECT count(*) FROM loan WHERE id >= 100").fetchone() == (rows - 1,)
    fresh.lite.execute("UPDATE loan SET v = 'fits' WHERE id = 100")
    assert fresh.drain().refused == 0
    assert fresh.pg.execute("SELECT count(*) FROM st_quarantine").fetchone() == (0,)
    fresh.assert_same()


def test_a_unique_key_whose_meaning_postgresql_does_not_know_is_refused(fresh: TestPair) -> None:
    fresh.lite.execute("CREATE UNIQUE INDEX loud ON owner (name COLLATE NOCASE) WHERE id > 5")
    with pytest.raises(Refused, match="unique index loud"):
        fresh.prepare()
    assert fresh.lite.execute("SELECT count(*) FROM sqlite_master WHERE name GLOB 'st_*'").fetchone() == (0,)


_INSERT = "INSERT OR REPLACE INTO t (id, part, n) VALUES (3, {part}, {n})"


@pytest.mark.parametrize(
    ("default", "write"),
    [
        *(
            (default, _INSERT.format(part="NULL", n=1))
            for default in ("n", "'n'", '"n"', "(lower('N'))", "7")
        ),
        ("'n'", "UPDATE OR REPLACE t SET part = NULL, n = 1 WHERE id = 2"),
        ("'n'", "UPDATE OR REPLACE t SET n = 1, part = (SELECT part FROM t WHERE id = 1) WHERE id = 2"),
        ("'n'", "UPDATE OR REPLACE t SET length = 5 WHERE id = 2"),
    ],
)
def test_what_replace_takes_away_by_a_value_that_no_statement_gives(default: str, write: str) -> None:
    """A NULL that a column does not take becomes its default; a generated column changes with another one."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in create_statements(Side.SQLITE):
        connection.execute(statement)
    claim_sqlite(connection, "pair", "")
    connection.execute(
        f"CREATE TABLE t (id INTEGER PRIMARY KEY, part TEXT NOT NULL DEFAULT {default}, n INTEGER, length INTEGER, "
        "area AS (length * length) UNIQUE, UNIQUE (part, n))"
    )
    connection.execute("INSERT INTO t (id, n, length) VALUES (1, 1, 5), (2, 2, 6)")
    install_sqlite(connection, sqlite_keys(connection), "fenced")
    connection.execute(write)
    logged = connection.execute("SELECT k FROM st_change_log").fetchall()
    connection.close()
    assert (1,) in logged


def test_numbers_of_more_than_28_digits_stay_what_they_are() -> None:
    digits = "1234567890123456789012345678901234567.8901234567"
    assert encode(Kind.NUMERIC, digits) == digits
    assert encode(Kind.NUMERIC, f"{digits}000") == digits
    assert encode(Kind.NUMERIC, f"{digits}1") != digits
    assert [encode(Kind.NUMERIC, text) for text in ("-0.00", "1e3", "1.50", "+7")] == [
        "0",
        "1000",
        "1.5",
        "7",
    ]
    assert Decimal(str(encode(Kind.NUMERIC, 1e22))) == Decimal("1e22")


def test_a_null_key_brings_the_whole_table(fresh: TestPair) -> None:
    """SQLite lets NULL into a text key; the entry names the whole table, however many rows that is."""
    fresh.lite.executescript(
        "DROP TABLE code; CREATE TABLE code (code TEXT PRIMARY KEY, rank INTEGER UNIQUE, v TEXT)"
    )
    fresh.prepare()
    fresh.backfill()
    fresh.lite.execute("BEGIN")
    for n in range(COPY_FROM * 2):
        fresh.lite.execute("INSERT INTO code VALUES (?, ?, 'v')", (f"k{n}", n))
    fresh.lite.execute("COMMIT")
    fresh.drain()
    fresh.lite.execute("INSERT INTO code VALUES (NULL, NULL, 'no key')")
    outcome = fresh.applier.round()
    assert isinstance(outcome, Round)
    assert outcome.refused == 1
    assert fresh.pg.execute("SELECT count(*) FROM code").fetchone() == (COPY_FROM * 2,)
    fresh.lite.execute("DELETE FROM code WHERE code IS NULL")
    fresh.drain()
    assert fresh.pg.execute("SELECT count(*) FROM st_quarantine").fetchone() == (0,)
    fresh.assert_same()


def test_a_value_that_has_no_place_waits_in_quarantine(replicating: TestPair) -> None:
    """Text in an integer column, a boolean 2, a NUL: the rest of the round goes on."""
    replicating.lite.execute("UPDATE kinds SET i = 'seven', b = 2 WHERE id = 1")
    replicating.lite.execute("INSERT INTO kinds (id, t) VALUES (3, 'a' || char(0) || 'b'), (4, 'fine')")
    assert replicating.drain().refused == 2
    held = {key for (key,) in replicating.pg.execute("SELECT k FROM st_quarantine").fetchall()}
    assert held == {"1", "3"}
    assert set(replicating.contents(Side.POSTGRES)["kinds"]) == {(2,), (4,)}
    replicating.lite.execute("UPDATE kinds SET i = 7, b = 1, t = 'ab'")
    assert replicating.drain().refused == 0
    replicating.assert_same()


@pytest.mark.parametrize(
    "statement",
    [
        "REPLACE INTO code (rowid, code, rank, v) SELECT rowid, 'new', 77, 'v' FROM code WHERE code = 'a'",
        "UPDATE OR REPLACE code SET rowid = (SELECT rowid FROM code WHERE code = 'B') WHERE code = 'a'",
        "REPLACE INTO pairkey (_rowid_, a, b) SELECT oid, 9, 'new' FROM pairkey WHERE a = 1 AND b = 'a'",
    ],
)
def test_a_row_that_another_takes_the_number_from_is_logged(replicating: TestPair, statement: str) -> None:
    """A table whose key is a text has a number for each row, too, and REPLACE removes the row that has it."""
    rows = replicating.contents(Side.POSTGRES)
    replicating.lite.execute(statement)
    replicating.drain()
    replicating.assert_same()
    assert replicating.contents(Side.POSTGRES) != rows


def test_a_function_of_capture_that_is_gone_is_put_back(promoted: TestPair) -> None:
    """Nothing can be written on PostgreSQL meanwhile, so no gate may say that all is well."""
    promoted.pg.execute("DROP FUNCTION st_admit()")
    with pytest.raises(psycopg.errors.UndefinedFunction):
        promoted.pg.execute("INSERT INTO counter (n) VALUES (1)")
    capture = next(c for c in Checks(promoted.applier.stores, PlainTables()).all() if c.name == "capture")
    assert not capture.ok and "st_admit() is missing" in capture.detail
    promoted.applier.mend()
    promoted.pg.execute("INSERT INTO counter (n) VALUES (1)")
    promoted.drain()
    promoted.assert_same()


def test_a_trigger_of_the_application_s_with_the_name_of_ours_is_named(replicating: TestPair) -> None:
    """In its place no capture can stand: the answer says which statement makes room."""
    name = "st_capture_owner_update"
    replicating.lite.execute(f"DROP TRIGGER {name}")
    replicating.lite.execute("UPDATE owner SET name = 'missed' WHERE id = 1")
    replicating.lite.execute(f"CREATE TRIGGER {name} AFTER UPDATE ON owner BEGIN SELECT 1; END")
    with pytest.raises(SchemaDrift, match=f"trigger {name} on SQLite has the name") as caught:
        replicating.applier.mend()
    assert caught.value.hint is not None and f'DROP TRIGGER "{name}"' in caught.value.hint
    replicating.lite.execute(f"DROP TRIGGER {name}")
    replicating.applier.mend()
    replicating.drain()
    replicating.assert_same()


@pytest.mark.parametrize("collation", ["NOCASE", "RTRIM"])
def test_a_key_that_compares_bytes_over_a_column_that_does_not_is_refused(collation: str) -> None:
    """A look-up compares as the column does: it would take both rows for one."""
    connection = sqlite3.connect(":memory:")
    connection.execute(f"CREATE TABLE t (a TEXT COLLATE {collation}, v TEXT, PRIMARY KEY (a COLLATE BINARY))")
    with pytest.raises(SchemaDrift, match="key column a of t overlooks case or blanks"):
        sqlite_keys(connection)
    connection.close()
