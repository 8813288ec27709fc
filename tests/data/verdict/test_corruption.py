"""Corruption of every kind on every kind of column and key, both ways: verify names exactly the damaged keys.

The judge shares nothing with the verifier: plain drivers read both sides whole, and Python's own types say what
is equal. One repair must then leave nothing for it to find.
"""

from __future__ import annotations

import json
import random
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pytest

from app.db.common.urls import Side
from loadtests.stage.embedded import EmbeddedPostgres
from migration.verify.repair import repair_all
from migration.verify.run import Verify
from tests.data.verify.small_pair import SmallPair, make_pair_of
from tests.support.pairs import connect

# Column: type on SQLite, type on PostgreSQL, what SQLite's value means, values in SQLite's spelling.
Means = Callable[[Any], Any]
COLUMNS: dict[str, tuple[str, str, Means, tuple[Any, ...]]] = {
    "i": ("INTEGER", "bigint", int, (0, 1, -(2**63), 2**63 - 1)),
    "f": ("FLOAT", "double precision", float, (0.1, 1 / 3, 5e-324, 1e300)),
    "b": ("BOOLEAN", "boolean", bool, (0, 1)),
    "t": ("VARCHAR", "text", str, ("", " ", "NULL", "ä\n\t\\", "😀")),
    "ts": (
        "DATETIME",
        "timestamp",
        datetime.fromisoformat,
        ("2026-01-05 10:00:00", "2026-01-05 10:00:00.000001", "2024-02-29 23:59:59.999999"),
    ),
    "d": ("DATE", "date", date.fromisoformat, ("0001-01-01", "9999-12-31", "2026-01-05")),
    "tm": ("TIME", "time", time.fromisoformat, ("00:00:00", "23:59:59.999999", "07:00:00")),
    "bl": ("BLOB", "bytea", bytes, (b"", b"\x00\xff", b"\\x00")),
    "n": ("NUMERIC", "numeric", lambda value: Decimal(repr(value)), (0, 1.25, -7)),
    "u": ("CHAR(36)", "uuid", uuid.UUID, tuple(str(uuid.UUID(int=n << 90)) for n in (1, 2, 3))),
    "e": ("VARCHAR", "level", str, ("LOW", "MEDIUM", "HIGH")),
}
UUIDS = [uuid.UUID(int=n * 0x0FEDCBA987654321FEDCBA987) for n in range(1, 60)]
TEXTS = [
    "",
    " ",
    "A",
    "a",
    "B",
    "ab",
    "Z",
    "z",
    "ä",
    "Ä",
    "ﬁ",
    "\U0010ffff",
    "10",
    "9",
    *map(str, range(100, 140)),
]
# Table: its key's columns, and keys in SQLite's spelling; the last ones are for rows that are added.
KEYS: dict[str, tuple[list[str], list[tuple[Any, ...]]]] = {
    "by_integer": (["INTEGER bigint"], [(n * 7 - 100,) for n in range(50)]),
    "by_text": (["VARCHAR text"], [(text,) for text in TEXTS]),
    "by_hex": (["CHAR(32) uuid"], [(key.hex,) for key in UUIDS]),
    "by_hyphens": (["CHAR(36) uuid"], [(str(key),) for key in UUIDS]),
    "by_capitals": (["CHAR(36) uuid"], [(str(key).upper(),) for key in UUIDS]),
    "by_braces": (["VARCHAR uuid"], [(f"{{{key}}}",) for key in UUIDS]),
    "by_any": (["VARCHAR uuid"], [((key.hex, str(key), str(key).upper())[n % 3],) for n, key in enumerate(UUIDS)]),
    "by_enum": (["VARCHAR level", "INTEGER bigint"], [(e, n) for n in range(15) for e in ("LOW", "MEDIUM", "HIGH")]),
    "by_two": (["INTEGER bigint", "VARCHAR text"], [(n, t) for n in (-1, 2, 10) for t in TEXTS[:14]]),
    "by_mix": (["VARCHAR text", "CHAR(36) uuid"], [(t, str(key)) for t, key in zip(TEXTS, UUIDS, strict=False)]),
    "no_rowid": (["VARCHAR text", "INTEGER bigint"], [(t, n) for n in (1, 2) for t in TEXTS[:20]]),
}  # fmt: skip
ADDED = 6
ROUNDS = 4


def ddl(side: Side) -> str:
    made = ["CREATE TYPE level AS ENUM ('LOW', 'MEDIUM', 'HIGH')"] if side is Side.POSTGRES else []
    columns = ", ".join(f"{name} {kinds[side is Side.POSTGRES]}" for name, kinds in COLUMNS.items())
    for table, (kinds, _) in KEYS.items():
        key = ", ".join(
            f"k{n} {kind.split()[side is Side.POSTGRES]} NOT NULL" for n, kind in enumerate(kinds)
        )
        names = ", ".join(f"k{n}" for n in range(len(kinds)))
        end = " WITHOUT ROWID" if side is Side.SQLITE and table == "no_rowid" else ""
        made.append(f"CREATE TABLE {table} ({key}, {columns}, PRIMARY KEY ({names})){end}")
    return ";\n".join(made) + ";\n"


def some_row(rng: random.Random) -> list[Any]:
    return [None if rng.random() < 0.1 else rng.choice(kinds[3]) for kinds in COLUMNS.values()]


def fill(connection: sqlite3.Connection) -> None:
    rng = random.Random(1)
    for table, (kinds, keys) in KEYS.items():
        marks = ", ".join("?" * (len(kinds) + len(COLUMNS)))
        rows = [(*key, *some_row(rng)) for key in keys[:-ADDED]]
        connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)


@pytest.fixture(scope="module")
def pair(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallPair]:
    name = f"v_{uuid.uuid4().hex[:12]}"
    url = postgres_server.create_database(name)
    made = make_pair_of(tmp_path_factory.mktemp("corrupt"), url, ddl(Side.SQLITE), ddl(Side.POSTGRES), fill)
    yield made
    made.applier.stores.close()
    postgres_server.drop_database(name)


# The judge.


def meant(table: str, row: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Key and values of a row of SQLite as Python's own types."""
    kinds = [kind.split()[1] for kind in KEYS[table][0]]
    key = tuple(uuid.UUID(v) if kind == "uuid" else v for kind, v in zip(kinds, row, strict=False))
    values = zip(COLUMNS.values(), row[len(kinds) :], strict=True)
    return key, tuple(None if value is None else of[2](value) for of, value in values)


def differing(pair: SmallPair) -> set[tuple[str, str]]:
    """Table and key, as verify prints it, of each row that is not the same on both sides."""
    found = set()
    with sqlite3.connect(pair.path) as sqlite, connect(pair.url) as postgres:
        for table, (kinds, _) in KEYS.items():
            ours = dict(meant(table, row) for row in sqlite.execute(f"SELECT * FROM {table}"))
            rows = postgres.execute(f"SELECT * FROM {table}".encode()).fetchall()
            theirs = {row[: len(kinds)]: row[len(kinds) :] for row in rows}
            for key in ours.keys() | theirs.keys():
                if key not in ours or key not in theirs or ours[key] != theirs[key]:
                    texts = list(map(str, key))
                    found.add((table, texts[0] if len(texts) == 1 else json.dumps(texts)))
    sqlite.close()
    return found


# The damage.


class Damage:
    """Damages the shadow of a pair by plain SQL.

    Args:
        execute: a statement with %s marks, on the shadow. side: which side that is. rng: what chooses.
    """

    def __init__(self, execute: Any, side: Side, rng: random.Random) -> None:
        self._execute, self._side, self._rng = execute, side, rng

    def once(self, table: str) -> None:
        """One kind of damage to a table, an empty one included."""
        chosen = self._rng.choices(
            (self.change, self.delete, self.add, self.swap, self.respell, self.empty), (8, 4, 3, 3, 4, 0.4)
        )
        chosen[0](table)

    def key(self, table: str, *, added: bool = False) -> tuple[str, tuple[Any, ...]]:
        """A WHERE clause and its parameters for some key; it may be gone."""
        keys = KEYS[table][1]
        key = self._rng.choice(keys[-ADDED:] if added else keys[:-ADDED])
        return " AND ".join(f"k{n} = %s" for n in range(len(key))), key

    def change(self, table: str) -> None:
        column = self._rng.choice(list(COLUMNS))
        value = self._rng.choice((None, *COLUMNS[column][3]))
        if column == "b" and value is not None and self._side is Side.POSTGRES:
            value = bool(value)
        where, key = self.key(table)
        self._execute(f"UPDATE {table} SET {column} = %s WHERE {where}", (value, *key))

    def delete(self, table: str) -> None:
        where, key = self.key(table)
        self._execute(f"DELETE FROM {table} WHERE {where}", key)

    def add(self, table: str) -> None:
        where, key = self.key(table, added=True)
        self._execute(f"DELETE FROM {table} WHERE {where}", key)
        names = ", ".join(f"k{n}" for n in range(len(key)))
        marks = ", ".join(["%s"] * len(key))
        self._execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", key)

    def swap(self, table: str) -> None:
        """Two rows change places: all values but the keys."""
        (first, one), (second, other) = self.key(table), self.key(table)
        for column in COLUMNS:
            self._execute(
                f"UPDATE {table} SET {column} = CASE WHEN {first} THEN (SELECT {column} FROM {table} WHERE {second}) "
                f"ELSE (SELECT {column} FROM {table} WHERE {first}) END WHERE ({first}) OR ({second})",
                (*one, *other, *one, *one, *other),
            )

    def respell(self, table: str) -> None:
        """Another text for the same value, on SQLite; it is no damage."""
        if self._side is Side.POSTGRES:
            return
        where, key = self.key(table)
        change = self._rng.choice(
            (
                "ts = substr(ts, 1, 10) || 'T' || substr(ts, 12)",
                "u = upper(u)",
                "u = replace(u, '-', '')",
                "tm = tm || '.000000' WHERE length(tm) = 8 AND",
            )
        )
        change = change if " WHERE " in change else f"{change} WHERE"
        self._execute(f"UPDATE {table} SET {change} {where}", key)
        if table == "by_hyphens":
            self._execute(
                f"UPDATE {table} SET k0 = upper(substr(k0, 1, 12)) || substr(k0, 13) WHERE {where}", key
            )

    def empty(self, table: str) -> None:
        self._execute(f"DELETE FROM {table}" if self._side is Side.SQLITE else f"TRUNCATE {table}", ())


@pytest.mark.parametrize("seed", range(ROUNDS))
@pytest.mark.parametrize("primary", list(Side))
def test_verify_names_exactly_the_damaged_keys_and_one_repair_mends_them(
    pair: SmallPair, primary: Side, seed: int
) -> None:
    pair.move(primary)
    assert not differing(pair)
    rng = random.Random(f"{primary} {seed}")
    with pair.silently() as execute:
        damage = Damage(execute, pair.shadow, rng)
        for table in KEYS:
            for _ in range(rng.randrange(12)):
                damage.once(table)
    damaged = differing(pair)
    assert damaged
    found = Verify(pair.applier, chunk_rows=rng.choice((1, 4, 17, 1_000))).run()
    assert {(item.table, item.key_text()) for item in found.mismatches} == damaged
    done = repair_all(pair.applier, list(KEYS))
    assert (done.keys, done.left) == (len(damaged), {})
    assert not differing(pair)
    assert Verify(pair.applier).run().clean
