"""Each column of SQLite keeps the spelling of its application, there and back."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from app.db.common.urls import Side
from app.db.rows.canonical import encode
from app.db.rows.catalog import Column, Table
from app.db.rows.kinds import Kind
from app.db.rows.policy import active_policy, encode_cell
from app.db.rows.spelling import Spelling, spell_uuid, to_sqlite
from app.db.sides.sqlite.spellings import of_column
from loadtests.stage.embedded import EmbeddedPostgres
from migration.verify.repair import repair_all
from migration.verify.run import Verify, VerifyProgress
from tests.data.verify.small_pair import SmallPair, make_pair_of

SQLITE = """
CREATE TABLE docs (id CHAR(36) PRIMARY KEY, at TIME, seen DATETIME, v INTEGER);
CREATE TABLE notes (id INTEGER PRIMARY KEY, doc CHAR(36), tag VARCHAR);
CREATE TABLE mixed (id VARCHAR PRIMARY KEY, at TIME);
CREATE TABLE odd (id INTEGER PRIMARY KEY, seen DATETIME, done BOOLEAN, at TIME, gone DATE, since DATETIME, n TEXT,
                  day DATETIME, v INTEGER);
CREATE TABLE late (id INTEGER PRIMARY KEY, doc VARCHAR, bytes NUMERIC(16), at TIME);
"""
POSTGRES = """
CREATE TABLE docs (id uuid PRIMARY KEY, at time, seen timestamp, v bigint);
CREATE TABLE notes (id bigint PRIMARY KEY, doc uuid, tag text);
CREATE TABLE mixed (id uuid PRIMARY KEY, at time);
CREATE TABLE odd (id bigint PRIMARY KEY, seen timestamp, done boolean, at time, gone date, since timestamp, n bigint,
                  day timestamptz, v bigint);
CREATE TABLE late (id bigint PRIMARY KEY, doc uuid, bytes uuid, at time);
"""
POLICY = """[tables.odd]
seen = "cut_fraction"
done = "true_false_text"
at = "moment_is_clock"
gone = "empty_is_null"
since = "epoch_seconds"
n = "text_as_number"
day = "julian_day"
"""
# Of the last row no value is written as most of its column are.
DAWN, CLOCK, MAY = "2026-01-05 07:00", "2000-01-01 07:00:00", "2026-05-03 04:05:06"
ODD = [
    (1, f"{DAWN}:00.123456789", "f", CLOCK, "", 1767596400, "7", 2460310.5, 1),
    (2, f"{DAWN}:00.000000", "f", CLOCK, None, 1767596401, "-70000000000", 2460311, 1),
    (3, DAWN, "no", "1999-12-31 07:00:00", "", DAWN, "007", 2460310.123456, 1),
]
DOCS = [str(uuid.UUID(int=n * 0x1234567890ABCDEF1234567)) for n in range(1, 41)]
MIXED = [
    "0" * 31 + "a",
    "{" + DOCS[3] + "}",
    DOCS[4],
    DOCS[5].upper(),
    "AbCdEf00-0000-0000-0000-000000000000",
]


def fill(connection: sqlite3.Connection) -> None:
    connection.executemany(
        "INSERT INTO docs VALUES (?, '07:00:00', '2026-01-05T07:00:00', 1)", [(k,) for k in DOCS]
    )
    connection.executemany("INSERT INTO mixed VALUES (?, '07:00')", [(k,) for k in MIXED])
    connection.executemany("INSERT INTO odd VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", ODD)


@pytest.fixture(scope="module")
def module_pair(
    postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SmallPair]:
    name = f"v_{uuid.uuid4().hex[:12]}"
    url = postgres_server.create_database(name)
    folder = tmp_path_factory.mktemp("spelt")
    (folder / "migration.toml").write_text(POLICY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ST_MIGRATION_CONFIG", str(folder / "migration.toml"))
        active_policy.cache_clear()
        pair = make_pair_of(folder, url, SQLITE, POSTGRES, fill)
        yield pair
        pair.applier.stores.close()
    active_policy.cache_clear()
    postgres_server.drop_database(name)


@pytest.fixture
def spelt(module_pair: SmallPair) -> Iterator[SmallPair]:
    module_pair.move(Side.SQLITE)
    yield module_pair
    repair_all(module_pair.applier, ["docs", "mixed", "notes", "odd", "late"])


def all_of(pair: SmallPair, query: str) -> list[tuple[object, ...]]:
    return pair.applier.stores.sqlite.connection.execute(query).fetchall()


def test_a_damaged_a_lost_and_an_added_row_are_named_and_repaired(spelt: SmallPair) -> None:
    added = str(uuid.UUID(int=5))
    before = all_of(spelt, "SELECT * FROM docs ORDER BY 1")
    spelt.corrupt("UPDATE docs SET v = 9 WHERE id = %s", DOCS[0])
    spelt.corrupt("DELETE FROM docs WHERE id = %s", DOCS[1])
    spelt.corrupt("INSERT INTO docs VALUES (%s, NULL, NULL, 1)", added)
    found = Verify(spelt.applier, chunk_rows=7).run()
    assert {(item.key, item.kind) for item in found.mismatches} == {
        ((DOCS[0],), "different"),
        ((DOCS[1],), "missing"),
        ((added,), "extra"),
    }
    done = repair_all(spelt.applier, found.tables)
    assert (done.keys, done.left) == (3, {})
    again = Verify(spelt.applier).run()
    assert again.clean and again.rows == len(DOCS) + len(MIXED) + len(ODD)
    assert all_of(spelt, "SELECT * FROM docs ORDER BY 1") == before


def test_rows_come_back_in_the_spelling_of_their_column(spelt: SmallPair) -> None:
    spelt.move(Side.POSTGRES)
    new = str(uuid.UUID(int=77))
    spelt.write("UPDATE docs SET at = '09:30', seen = '2026-02-03 04:05:06', v = 2 WHERE id = %s", DOCS[2])
    spelt.write("INSERT INTO docs VALUES (%s, '08:00', '2026-02-03 04:05:06.5', 3)", new)
    spelt.write("INSERT INTO notes VALUES (1, %s, 'x')", new)
    spelt.settle()
    assert all_of(spelt, f"SELECT at, seen, v FROM docs WHERE id = '{DOCS[2]}'") == [
        ("09:30:00", "2026-02-03T04:05:06", 2)
    ]
    assert all_of(spelt, "SELECT at, seen, tag FROM docs JOIN notes ON notes.doc = docs.id") == [
        ("08:00:00", "2026-02-03T04:05:06.500000", "x")
    ]
    assert Verify(spelt.applier, chunk_rows=7).run().clean


def test_in_a_mixed_column_each_value_keeps_its_own_spelling(spelt: SmallPair) -> None:
    spelt.move(Side.POSTGRES)
    spelt.write("UPDATE mixed SET at = '08:00'")
    spelt.settle()
    assert {row[0] for row in all_of(spelt, "SELECT id FROM mixed WHERE at = '08:00'")} == set(MIXED)
    assert Verify(spelt.applier, chunk_rows=2).run().clean
    spelt.write("DELETE FROM mixed WHERE id = %s", MIXED[4])
    spelt.settle()
    assert len(all_of(spelt, "SELECT id FROM mixed")) == len(MIXED) - 1
    spelt.write("INSERT INTO mixed VALUES (%s, '08:00')", MIXED[4])
    spelt.settle()


def test_values_that_a_policy_reads_stay_until_they_change_themselves(spelt: SmallPair) -> None:
    spelt.move(Side.POSTGRES)
    spelt.write("UPDATE odd SET v = 2")
    spelt.write(f"INSERT INTO odd VALUES (4, '{MAY}', true, '08:00', NULL, '1970-01-02', 8, '{MAY}.5', 3)")
    spelt.settle()
    assert all_of(spelt, "SELECT * FROM odd ORDER BY id") == [
        *((*row[:8], 2) for row in ODD),
        (4, f"{MAY}.000000", "t", "2000-01-01 08:00:00", None, 86400, "8", f"{MAY}.500000", 3),
    ]
    assert Verify(spelt.applier).run().clean


def test_a_table_that_was_empty_at_the_copy_is_learnt_by_the_next_verify(spelt: SmallPair) -> None:
    spelt.move(Side.SQLITE)
    spelt.write("INSERT INTO late VALUES (1, ?, NULL, '07:00')", DOCS[0].upper())
    spelt.settle()
    assert Verify(spelt.applier).run().clean
    spelt.move(Side.POSTGRES)
    spelt.write("INSERT INTO late VALUES (2, %s, %s, '08:00')", DOCS[1], DOCS[2])
    spelt.settle()
    assert all_of(spelt, "SELECT doc, bytes, at FROM late WHERE id = 2") == [
        (DOCS[1].upper(), uuid.UUID(DOCS[2]).bytes, "08:00")
    ]


def test_a_key_spelt_as_never_before_is_noted_when_its_table_is_carried(spelt: SmallPair) -> None:
    spelt.move(Side.SQLITE)
    spelt.applier.stores.postgres.connection.execute(
        "UPDATE st_spelling SET mixed = false WHERE tbl = 'docs'"
    )
    spelt.applier.forget_schema()
    new = "ABcd" + DOCS[1][4:]
    connection = spelt.applier.stores.sqlite.connection
    connection.execute("UPDATE st_control SET applying = 1")
    connection.execute("INSERT INTO docs VALUES (?, NULL, NULL, 1)", (new,))
    connection.execute("UPDATE st_control SET applying = 0")
    connection.execute("INSERT INTO st_change_log (tbl, k, at) VALUES ('docs', NULL, 0)")
    spelt.move(Side.POSTGRES)
    spelt.write("UPDATE docs SET v = 2")
    spelt.settle()
    assert all_of(spelt, f"SELECT id, v FROM docs WHERE lower(id) = '{new.lower()}'") == [(new, 2)]
    spelt.write("DELETE FROM docs WHERE id = %s", new)
    spelt.settle()
    assert all_of(spelt, f"SELECT id FROM docs WHERE lower(id) = '{new.lower()}'") == []


def test_a_spelling_that_is_learnt_during_a_verify_does_not_end_it(spelt: SmallPair) -> None:
    new = "ABcd" + DOCS[20][4:]
    spelt.write("DELETE FROM docs WHERE id = ?", DOCS[20])
    spelt.settle()
    execute = spelt.applier.stores.postgres.connection.execute
    execute("UPDATE st_spelling SET form = 'hyphens', mixed = false WHERE tbl = 'docs'")
    spelt.applier.forget_schema()
    unwritten = [new]

    def write_once(progress: VerifyProgress) -> None:
        if unwritten:
            spelt.write("INSERT INTO docs VALUES (?, NULL, NULL, 1)", unwritten.pop())

    # The verify meets a row that nobody has carried yet, carries it, and learns its spelling.
    assert Verify(spelt.applier, chunk_rows=7).run(write_once).clean
    assert execute("SELECT mixed FROM st_spelling WHERE tbl = 'docs' AND col = 'id'").fetchone() == (True,)
    spelt.write("DELETE FROM docs WHERE id = ?", new)
    spelt.write("INSERT INTO docs VALUES (?, '07:00:00', '2026-01-05T07:00:00', 1)", DOCS[20])
    spelt.settle()


@pytest.mark.parametrize("n", range(len(MIXED)))
def test_a_lost_row_is_found_and_mended_whatever_its_spelling(spelt: SmallPair, n: int) -> None:
    spelt.move(Side.SQLITE)
    canonical = str(uuid.UUID(MIXED[n]))
    spelt.corrupt("DELETE FROM mixed WHERE id = %s", canonical)
    found = Verify(spelt.applier, chunk_rows=2).run()
    assert [(item.key, item.kind) for item in found.mismatches] == [((canonical,), "missing")]
    assert repair_all(spelt.applier, ["mixed"]).keys == 1
    assert Verify(spelt.applier).run().clean


def test_two_rows_of_one_key_are_a_mismatch_that_no_repair_hides(spelt: SmallPair) -> None:
    spelt.move(Side.POSTGRES)
    spelt.corrupt("INSERT INTO docs VALUES (%s, NULL, NULL, 1)", DOCS[7].upper())
    found = Verify(spelt.applier).run()
    assert [(item.key, item.kind) for item in found.mismatches] == [((DOCS[7],), "double")]
    assert any("two rows on SQLite" in line for line in repair_all(spelt.applier, ["docs"]).reasons())
    spelt.corrupt("DELETE FROM docs WHERE id = %s", DOCS[7].upper())
    assert Verify(spelt.applier).run().clean


SEEN = [
    (Kind.UUID, [MIXED[4]], Spelling("hyphens", True)),
    (Kind.NUMERIC, ["1", "1e5"], Spelling("0", True)),
    (Kind.NUMERIC, ["1e5"], Spelling("0", True)),
    (Kind.TIME, ["07:00:00", "08:00:00.5"], Spelling("0", True)),
    (Kind.TIME, ["07:00:00", "08:00:00.500000"], Spelling("0")),
    (Kind.TIME, ["07:00:00.000000", "08:00:00.500000"], Spelling("6")),
    (Kind.TIME, ["07:00:00.000", "08:00:00.500"], Spelling("3")),
    (Kind.TIME, ["07:00", "08:00"], Spelling("m")),
    (Kind.TIME, ["08:00:00.123456"], Spelling("6")),
    (Kind.TIMESTAMP, ["2026-01-05T07:00:00", "2026-01-05T07:00:00.000001"], Spelling("T0")),
    (Kind.TIMESTAMP, ["2026-01-05 07:00:00.000000"], Spelling(" 6")),
    (Kind.TIMESTAMP, ["2026-01-05 07:00:00"] * 2 + ["2026-01-05T07:00:00"], Spelling(" 0", True)),
    (Kind.TIMESTAMP, ["2026-01-05 07:00:00.120"] * 2 + ["2026-01-05 07:00:00.120000"], Spelling(" 3", True)),
    (Kind.TIMESTAMP, ["2026-01-05 07:00:00", "2026-01-05 07:00:01.000001"], Spelling(" 0")),
    (Kind.TIMESTAMP, ["2026-01-05 07:00:00.120000"] * 2 + ["2026-01-05 07:00:00.120"], Spelling(" 6", True)),
    (Kind.TIMESTAMP, ["2026-01-05 07:00", "2026-01-05 07:00:01"], Spelling(" m")),
    (
        Kind.TIMESTAMP,
        [b"2026-01-05 07:00:00.000000"] * 3 + ["2026-01-05T07:00:00"] * 2 + ["2026-01-05 07:00:00"],
        Spelling("T0", True),
    ),
    (
        Kind.INSTANT,
        ["2026-01-05 07:00:00.500 +00:00", "2026-01-05 07:00:00.000 +00:00"],
        Spelling(" 3 +00:00"),
    ),
    (Kind.INSTANT, ["2026-01-05T07:00:00+05:30"], Spelling("T0+05:30")),
    (Kind.UUID, [DOCS[0]], Spelling("hyphens")),
    (Kind.UUID, [spell_uuid(DOCS[9], "HEX")], Spelling("HEX")),
    (Kind.UUID, [spell_uuid(DOCS[9], "braces"), spell_uuid(DOCS[8], "braces")], Spelling("braces")),
    (Kind.UUID, [spell_uuid(key, "hex") for key in DOCS] + [DOCS[0]], Spelling("hex", True)),
    (Kind.UUID, [], None),
    (Kind.INTEGER, [1], None),
]


@pytest.mark.parametrize(("kind", "values", "expected"), SEEN)
def test_a_spelling_is_learnt_from_what_a_column_holds(
    kind: Kind, values: list[object], expected: Spelling | None
) -> None:
    column = Column("c", kind, "", True, affinity="text")
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t (c)")
        connection.executemany("INSERT INTO t VALUES (?)", [(value,) for value in values])
        learnt = of_column(connection, Table("t", (column,), (column,)), column)
    assert learnt == expected
    if learnt is not None and not learnt.mixed:
        canonical = [encode(kind, value) for value in values]
        whole = [(text or "").removesuffix("+00") for text in canonical]
        printed = [text.rstrip("0").rstrip(".") if "." in text else text for text in whole]
        assert [to_sqlite(kind, value, learnt) for value in printed] == values


_COUNTS = ("epoch_millis", "epoch_seconds")
DAY = Spelling("2000-01-01 0", mixed=True)
BY_POLICY = [
    ("epoch_millis", Kind.INSTANT, [1767596400123, 1767596400000], Spelling("millis")),
    ("epoch_millis", Kind.TIMESTAMP, [1767596400123.25, "2026-01-05 07:00:00"], Spelling("millis", True)),
    ("epoch_seconds", Kind.INSTANT, [1767596400, -1], Spelling("seconds")),
    ("epoch_seconds", Kind.TIMESTAMP, [], Spelling("seconds")),
    ("epoch_seconds", Kind.TIMESTAMP, ["2026-01-05 07:00:00"], Spelling(" 0")),
    ("epoch_millis', 'epoch_seconds", Kind.INSTANT, [1767596400123], Spelling("millis")),
    ("true_false_text", Kind.BOOLEAN, ["f", "f"], Spelling("t|f")),
    ("true_false_text", Kind.BOOLEAN, ["True", "False"], Spelling("True|False")),
    ("true_false_text", Kind.BOOLEAN, [0, 1, 1], Spelling("")),
    ("moment_is_clock", Kind.TIME, ["2000-01-01 07:00:00", "2000-01-01 07:00:00.250000"], DAY),
    ("moment_is_clock", Kind.TIME, ["08:42:15.991000", "08:42:15.991000", "07:00:00"], Spelling("0")),
    ("base64_as_blob", Kind.BLOB, ["AP8A", "", "AA=="], Spelling("base64")),
    ("base64_as_blob", Kind.BLOB, [], Spelling("base64")),
    ("base64_as_blob', 'text_as_blob", Kind.BLOB, ["AP8A", "AA=="], Spelling("base64")),
    ("base64_as_blob", Kind.BLOB, [b"\x00", b"\xff", b""], Spelling("")),
]


@pytest.mark.parametrize(("policy", "kind", "values", "expected"), BY_POLICY)
def test_what_a_policy_reads_comes_back_as_the_application_writes_it(
    policy: str,
    kind: Kind,
    values: list[object],
    expected: Spelling,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = tmp_path / "migration.toml"
    chosen.write_text(f"[tables.t]\nc = ['{policy}']\n")
    monkeypatch.setenv("ST_MIGRATION_CONFIG", str(chosen))
    active_policy.cache_clear()
    try:
        connection = sqlite3.connect(":memory:")
        connection.execute("CREATE TABLE t (id, c)")
        connection.executemany("INSERT INTO t VALUES (1, ?)", [(value,) for value in values])
        key, column = Column("id", Kind.INTEGER, "", False), Column("c", kind, "", True)
        table = Table("t", (key, column), (key,))
        assert of_column(connection, table, column) == expected
        connection.executemany("INSERT INTO t VALUES (1, ?)", [("no value of any kind!",)] * 9)
        assert (again := of_column(connection, table, column)) is not None and again.form == expected.form
        for number in (value for value in values if type(value) is not str or policy not in _COUNTS):
            canonical = encode_cell(table, column, number)
            read: object = canonical == encode(kind, 1) if kind is Kind.BOOLEAN else canonical
            read = bytes.fromhex(str(canonical)[2:]) if kind is Kind.BLOB else read
            assert to_sqlite(kind, read, expected) == number
        connection.close()
    finally:
        active_policy.cache_clear()
