"""Keys that PostgreSQL takes and SQLite cannot hold: set aside by name, and no verify takes them for a difference."""

from __future__ import annotations

from pathlib import Path

from app.db.common.urls import Side
from app.db.switch.coordinator import Coordinator, Moved
from migration.verify.repair import repair
from migration.verify.run import Verify
from migration.watch import quarantine
from tests.data.dirty.dirty_stage import move, staged

# SQLite's column, PostgreSQL's, and keys without a form on SQLite.
KEYS = [
    ("DATE", "date", ["infinity", "4713-01-01 BC"]),
    ("FLOAT", "double precision", ["NaN"]),
    ("STRING", "text", ["00123"]),
    ("TEXT", "bigint", ["5"]),
    ("DATETIME", "timestamp", ["-infinity", "10000-01-01"]),
    ("DATETIME", "timestamptz", ["0044-03-15 00:00+00 BC", "10000-01-01 00:00+00"]),
    ("DATETIME", "interval", ["1 month", "100000000 days"]),
    ("NUMERIC", "numeric", ["NaN", "12345678901234567890.5"]),
    ("TIME", "time", ["24:00"]),
]


def test_rows_under_keys_that_sqlite_cannot_hold(tmp_path: Path, pg_url: str) -> None:
    ours = [
        f"CREATE TABLE t{n} (k {kind} NOT NULL PRIMARY KEY, v TEXT)" for n, (kind, _, _) in enumerate(KEYS)
    ]
    theirs = [f"CREATE TABLE t{n} (k {kind} PRIMARY KEY, v text)" for n, (_, kind, _) in enumerate(KEYS)]
    with staged(tmp_path, pg_url, ours, theirs) as stage:
        stage.fill()
        assert Verify(stage.applier).run().clean
        assert isinstance(Coordinator(stage.applier, max_pause_ms=10_000).move(Side.POSTGRES), Moved)
        for n, (_, kind, keys) in enumerate(KEYS):
            for key in keys:
                stage.postgres.execute(f"INSERT INTO t{n} VALUES (%s::{kind}, 'x')".encode(), (key,))
        numeric = [kind for _, kind, _ in KEYS].index("numeric")
        stage.postgres.execute(f"INSERT INTO t{numeric} VALUES (1, 'x'), (2.5, 'x')".encode())
        stage.round()
        assert len(stage.quarantined()) == sum(len(keys) for _, _, keys in KEYS)
        for rows in (1, 2, 10_000):
            found = Verify(stage.applier, chunk_rows=rows).run()
            assert (found.mismatches, found.set_aside) == ((), len(stage.quarantined()))
        stage.postgres.execute(
            "DELETE FROM st_quarantine"
        )  # what nobody has set aside is missing, by its name
        found = Verify(stage.applier).run()
        assert found.per_table == {f"t{n}": len(keys) for n, (_, _, keys) in enumerate(KEYS)}
        assert {item.kind for item in found.mismatches} == {"missing"}
        assert "form" not in " ".join(item.key_text() for item in found.mismatches)


def test_rows_under_such_keys_leave_quarantine_when_they_are_deleted(tmp_path: Path, pg_url: str) -> None:
    """Alone and beside another column, where the log holds the key in JSON."""
    keys = [(f"{name}{n}", n, key) for n in range(len(KEYS)) for name, key in (("t", "k"), ("u", "a, k"))]
    tables = [
        [
            f"CREATE TABLE {t} (a bigint NOT NULL, k {KEYS[n][side]} NOT NULL, PRIMARY KEY ({key}))"
            for t, n, key in keys
        ]
        for side in (0, 1)
    ]
    with staged(tmp_path, pg_url, *tables) as stage:
        stage.fill()
        move(stage, Side.POSTGRES)
        for table, n, _ in keys:
            for a, key in enumerate(KEYS[n][2]):
                stage.postgres.execute(f"INSERT INTO {table} VALUES ({a}, %s::{KEYS[n][1]})".encode(), (key,))
        stage.round()
        assert len(stage.quarantined()) == 2 * sum(len(keys) for _, _, keys in KEYS)
        for table, *_ in keys:
            stage.postgres.execute(f"DELETE FROM {table}".encode())
        stage.round()
        assert stage.quarantined() == {}


def test_such_rows_stay_while_their_table_is_written_anew(tmp_path: Path, pg_url: str) -> None:
    """SQLite is primary again: a row without a key has the whole table read, and one of a like key makes its own way."""
    ours = [f"CREATE TABLE t{n} (k {kind} PRIMARY KEY, v TEXT)" for n, (kind, _, _) in enumerate(KEYS)]
    theirs = [f"CREATE TABLE t{n} (k {kind} PRIMARY KEY, v text)" for n, (_, kind, _) in enumerate(KEYS)]
    with staged(tmp_path, pg_url, ours, theirs) as stage:
        stage.fill()
        move(stage, Side.POSTGRES)
        for n, (_, kind, keys) in enumerate(KEYS):
            for key in keys:
                stage.postgres.execute(f"INSERT INTO t{n} VALUES (%s::{kind}, 'x')".encode(), (key,))
        stage.round()
        stage.postgres.execute("UPDATE st_quarantine SET accepted_by = 'me', accepted_at = 1")
        move(stage, Side.SQLITE)
        stage.write(*(f"INSERT INTO t{n} VALUES (NULL, 'no key')" for n in range(len(KEYS))))
        stage.round()
        for n, (_, _, keys) in enumerate(KEYS):
            rows = stage.postgres.execute(f"SELECT v FROM t{n}".encode()).fetchall()
            assert rows == [("x",)] * len(keys), KEYS[n]
        assert Verify(stage.applier).run().clean
        stage.write("INSERT INTO t0 VALUES ('infinity', 'of SQLite')")
        stage.round()
        ((content,),) = stage.postgres.execute(
            "SELECT content FROM st_quarantine WHERE tbl = 't0' AND k = '{\"text\": \"infinity\"}'"
        ).fetchall()
        assert "of SQLite" in content
        assert stage.postgres.execute("SELECT count(*) FROM t0").fetchone() == (1,)
        assert Verify(stage.applier).run().clean


def test_a_row_that_collides_with_a_row_of_postgres_alone_is_set_aside(tmp_path: Path, pg_url: str) -> None:
    """Not under its key but under another unique value, where a key has several spellings."""
    tables = (
        ["CREATE TABLE t (k DATETIME NOT NULL PRIMARY KEY, v TEXT UNIQUE)"],
        ["CREATE TABLE t (k timestamp PRIMARY KEY, v text UNIQUE)"],
    )
    with staged(tmp_path, pg_url, *tables) as stage:
        stage.fill()
        move(stage, Side.POSTGRES)
        stage.postgres.execute("INSERT INTO t VALUES ('infinity', 'one')")
        stage.round()
        stage.postgres.execute("UPDATE st_quarantine SET accepted_by = 'me', accepted_at = 1")
        move(stage, Side.SQLITE)
        stage.write("INSERT INTO t VALUES ('2026-01-01 00:00:00', 'one'), ('2026-01-02 00:00:00', 'two')")
        stage.round()
        assert stage.postgres.execute("SELECT v FROM t ORDER BY v").fetchall() == [("one",), ("two",)]
        assert len(stage.quarantined()) == 2
        assert Verify(stage.applier).run().clean


def test_a_row_under_a_label_that_got_another_name_is_repaired_away(tmp_path: Path, pg_url: str) -> None:
    """The rename is no write, so nothing logs it. PostgreSQL does not know the old label, and cannot log it, either."""
    made = ["CREATE TYPE level AS ENUM ('low', 'high')", "CREATE TABLE t (k level PRIMARY KEY, v text)"]
    ours = ["CREATE TABLE t (k TEXT NOT NULL PRIMARY KEY, v TEXT)"]
    with staged(tmp_path, pg_url, ours, made) as stage:
        stage.write("INSERT INTO t VALUES ('low', 'a'), ('high', 'b'), ('none', 'only here')")
        stage.fill()
        rows = quarantine.held_rows(stage.applier.stores.postgres)
        quarantine.accept(stage.applier.stores.postgres, rows, "asha")
        move(stage, Side.POSTGRES)
        stage.postgres.execute(b"ALTER TYPE level RENAME VALUE 'low' TO 'least'")
        stage.round()
        found = Verify(stage.applier).run()
        assert {item.kind for item in found.mismatches} == {"missing", "extra"}
        assert repair(stage.applier, found.mismatches) == 2
        assert Verify(stage.applier).run().clean
        assert stage.sqlite.execute("SELECT k FROM t ORDER BY k").fetchall() == [
            ("high",),
            ("least",),
            ("none",),
        ]
