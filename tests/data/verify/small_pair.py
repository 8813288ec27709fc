"""A pair of databases with every column kind and every kind of key, made by hand in a fraction of a second."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from app.db.apply.outcome import Round
from app.db.apply.round import Applier
from app.db.common.settings import load_settings
from app.db.common.urls import Side, make_pair, parse_url
from app.db.rows.catalog import keep_spellings, read_schema
from app.db.sides import tables
from app.db.sides.capture import triggers as capture
from app.db.sides.postgres import deferred
from app.db.sides.postgres.store import PostgresStore
from app.db.sides.sqlite.connection import open_sqlite
from app.db.sides.sqlite.spellings import learn
from app.db.sides.stores import Stores
from app.db.switch.coordinator import Coordinator, Moved

SQLITE = """
CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY);
INSERT INTO alembic_version VALUES ('r1');
CREATE TABLE kinds (id INTEGER PRIMARY KEY, i INTEGER, f FLOAT, b BOOLEAN, t VARCHAR, ts DATETIME, d DATE, tm TIME,
  bl BLOB, n NUMERIC, u CHAR(32), code VARCHAR UNIQUE);
CREATE TABLE bars (id INTEGER PRIMARY KEY, symbol VARCHAR NOT NULL, ts DATETIME, price FLOAT);
CREATE TABLE by_text (k VARCHAR PRIMARY KEY, v INTEGER);
CREATE TABLE by_uuid (k CHAR(32) PRIMARY KEY, v INTEGER);
CREATE TABLE by_both (a INTEGER, b VARCHAR, v INTEGER, PRIMARY KEY (a, b));
CREATE TABLE parents (id INTEGER PRIMARY KEY, name VARCHAR);
CREATE TABLE children (id INTEGER PRIMARY KEY, parent_id INTEGER REFERENCES parents (id) ON DELETE CASCADE);
CREATE TABLE empty (id INTEGER PRIMARY KEY, v INTEGER);
"""
POSTGRES = """
CREATE TABLE alembic_version (version_num varchar(128) PRIMARY KEY);
INSERT INTO alembic_version VALUES ('r1');
CREATE TABLE kinds (id bigint PRIMARY KEY, i bigint, f double precision, b boolean, t text, ts timestamp, d date,
  tm time, bl bytea, n numeric, u uuid, code text UNIQUE);
CREATE TABLE bars (id bigint PRIMARY KEY, symbol text NOT NULL, ts timestamp, price double precision);
CREATE INDEX bars_symbol ON bars (symbol);
CREATE TABLE by_text (k text PRIMARY KEY, v bigint);
CREATE TABLE by_uuid (k uuid PRIMARY KEY, v bigint);
CREATE TABLE by_both (a bigint, b text, v bigint, PRIMARY KEY (a, b));
CREATE TABLE parents (id bigint PRIMARY KEY, name text);
CREATE TABLE children (id bigint PRIMARY KEY, parent_id bigint REFERENCES parents (id) ON DELETE CASCADE);
CREATE TABLE empty (id bigint PRIMARY KEY, v bigint);
"""
TEXT_KEYS = ("", " ", "A", "Z", "a", "a b", "ab", "z", "Ä", "ä", "ﬁ", "😀", "~", "ß", "0", "10", "9")
KINDS = (
    (1, 7, 1.5, 1, "x", "2026-01-05 10:00:00.000000", "2026-01-05", "10:00:00.000000", b"\x00\xff", 1.25),
    (2, -(2**62), -0.0, 0, "", "2026-01-05 10:00:00", "1970-01-01", "10:00:00", b"", 0),
    (3, None, None, None, None, None, None, None, None, None),
    (
        4,
        2**53 + 1,
        0.1,
        1,
        "ünï \n\t\\ 'q'",
        "2026-01-05 10:00:00.120000",
        "9999-12-31",
        "23:59:59.999999",
        b"a",
        3,
    ),
    (5, 0, 1e300, 0, "trailing", "2026-01-05T10:00", "2024-02-29", "00:00:00.100000", b"\\x", 1e15),
)
BARS = 400


@dataclass
class SmallPair:
    """The applier of a pair, and what tests do behind its back."""

    applier: Applier
    path: Path
    url: str

    def raw_sqlite(self) -> sqlite3.Connection:
        """A connection as the application or a shell would have."""
        return open_sqlite(self.path, busy_timeout_ms=5_000)

    def raw_postgres(self) -> psycopg.Connection[Any]:
        """A connection as the application would have."""
        return PostgresStore(parse_url(self.url, name="test"), load_settings()).connection

    def another_applier(self) -> Applier:
        """One of a second process, with connections of its own."""
        return _applier(self.path, self.url)

    @property
    def shadow(self) -> Side:
        return self.applier.stores.directions()[1].side

    def corrupt(self, statement: str, *parameters: Any) -> None:
        """Change the shadow so that nobody notices: the statement is written with %s marks."""
        with self.silently() as execute:
            execute(statement, parameters)

    @contextmanager
    def silently(self) -> Iterator[Any]:
        """A transaction on the shadow in which nothing is captured or refused."""
        if self.shadow is Side.POSTGRES:
            with self.applier.stores.postgres.write() as postgres:
                postgres.execute("SELECT set_config('st.applying', epoch::text, true) FROM st_control")
                yield postgres.execute
        else:
            with self.applier.stores.sqlite.write() as sqlite:
                sqlite.execute("UPDATE st_control SET applying = 1")
                yield lambda statement, parameters=(): sqlite.execute(
                    statement.replace("%s", "?"), parameters
                )
                sqlite.execute("UPDATE st_control SET applying = 0")

    def write(self, statement: str, *parameters: Any) -> None:
        """What the application does: a write on the primary, with %s marks."""
        if self.shadow is Side.POSTGRES:
            self.applier.stores.sqlite.connection.execute(statement.replace("%s", "?"), parameters)
        else:
            self.applier.stores.postgres.connection.execute(statement.encode(), parameters)

    def settle(self) -> None:
        """Apply until nothing is left."""
        assert isinstance(self.applier.drain(), Round)

    def move(self, to: Side) -> None:
        """Make the other side the primary."""
        if self.shadow is to:
            outcome = Coordinator(self.applier, max_pause_ms=10_000).move(to)
            assert isinstance(outcome, Moved), outcome
            self.settle()


def _applier(path: Path, url: str) -> Applier:
    pair = make_pair(parse_url(f"sqlite:///{path}", name="test"), parse_url(url, name="test"))
    return Applier(Stores.open(pair, load_settings()))


def make_small_pair(folder: Path, url: str) -> SmallPair:
    """Both sides with the same rows, SQLite primary, phase `replicating`."""
    return make_pair_of(folder, url, SQLITE, POSTGRES, _fill)


def make_pair_of(
    folder: Path, url: str, sqlite: str, postgres: str, fill: Callable[[sqlite3.Connection], None]
) -> SmallPair:
    """A pair of tables made by hand, as above; spellings are learnt as a copy would."""
    path = folder / "small.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(sqlite)
        fill(connection)
    connection.close()
    pair = SmallPair(
        _applier(path, url),
        path,
        url,
    )
    _bookkeeping(pair.applier, postgres)
    for table in pair.applier.schema().values():
        pair.write(f"UPDATE {table.name} SET {table.key_names[0]} = {table.key_names[0]}")
    pair.settle()
    return pair


def _fill(connection: sqlite3.Connection) -> None:
    for row in KINDS:
        uuid = f"{row[0]:032x}" if row[0] != 3 else None
        connection.execute(
            f"INSERT INTO kinds VALUES ({', '.join('?' * 12)})", (*row, uuid, f"code {row[0]}")
        )
    connection.executemany(
        "INSERT INTO bars VALUES (?, ?, ?, ?)",
        [(n, f"S{n % 7}", f"2026-01-05 10:00:00.{n:06d}", n / 7) for n in range(1, BARS + 1)],
    )
    connection.executemany("INSERT INTO by_text VALUES (?, 1)", [(key,) for key in TEXT_KEYS])
    connection.executemany(
        "INSERT INTO by_uuid VALUES (?, 1)", [(f"{n * 0x1234567:032x}",) for n in range(1, 20)]
    )
    connection.executemany(
        "INSERT INTO by_both VALUES (?, ?, 1)", [(a, b) for a in (-1, 2, 10) for b in ("", "B", "a", "é")]
    )
    connection.executemany("INSERT INTO parents VALUES (?, ?)", [(n, f"p{n}") for n in range(1, 6)])
    connection.executemany("INSERT INTO children VALUES (?, ?)", [(n, n % 5 + 1) for n in range(1, 11)])


def _bookkeeping(applier: Applier, made: str) -> None:
    sqlite, postgres = applier.stores.sqlite, applier.stores.postgres
    control = (
        "INSERT INTO st_control (id, pair, side, primary_side, epoch, phase, writable, applying, paused) "
        "VALUES (1, 'small', '{side}', 'sqlite', 1, 'replicating', {writable}, false, false)"
    )
    watermark = "INSERT INTO st_watermark (id, position, changes, applied_at) VALUES (1, '0', 0, 0)"
    with postgres.write() as connection:
        for statement in [part for part in made.split(";\n") if part.strip()]:
            connection.execute(statement.encode())
        for statement in tables.create_statements(Side.POSTGRES):
            connection.execute(statement.encode())
        connection.execute(control.format(side="postgres", writable="false").encode())
        connection.execute(watermark.encode())
        deferred.drop_foreign_keys(connection)
        deferred.drop_indexes(connection)
    list(deferred.build_indexes(postgres.connection))
    schema = read_schema(sqlite.connection, postgres.connection)
    with postgres.write() as connection:
        capture.install_postgres(connection, schema)
        keep_spellings(connection, learn(sqlite.connection, schema))
    with sqlite.write() as ours:
        for statement in tables.create_statements(Side.SQLITE):
            ours.execute(statement)
        ours.execute(control.format(side="sqlite", writable="true"))
        ours.execute(watermark)
        capture.install_sqlite(ours, schema, capture.fence_message(Side.SQLITE, 1))
