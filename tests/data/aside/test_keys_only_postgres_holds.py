"""Keys that PostgreSQL takes and SQLite cannot hold: set aside by name, and no verify takes them for a difference."""

from __future__ import annotations

from pathlib import Path

from app.db.common.urls import Side
from app.db.switch.coordinator import Coordinator, Moved
from migration.verify.run import Verify
from tests.data.dirty.dirty_stage import move, staged

# SQLite's column, PostgreSQL's, and keys without a form on SQLite.
KEYS = [
    ("DATE", "date", ["infinity", "4713-01-01 BC"]),
    ("FLOAT", "double precision", ["NaN"]),
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
        stage.round()
        assert len(stage.quarantined()) == sum(len(keys) for _, _, keys in KEYS)
        found = Verify(stage.applier).run()
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
