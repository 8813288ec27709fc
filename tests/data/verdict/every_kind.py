"""Tables with every kind of column and key, and a judge that shares nothing with the verifier.

Plain drivers read both sides whole, and Python's own types say what is equal.
"""

from __future__ import annotations

import json
import random
import sqlite3
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import ip_interface
from typing import Any

from psycopg.types.json import set_json_loads

from app.db.common.urls import Side
from tests.data.verify.small_pair import SmallPair
from tests.support.pairs import connect

Means = Callable[[Any], Any]


def at_once(text: str) -> datetime:
    """A moment, UTC where the text does not say."""
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def lasting(value: int | str) -> timedelta:
    return (
        timedelta(microseconds=value)
        if isinstance(value, int)
        else datetime.fromisoformat(value) - datetime(1970, 1, 1)
    )


def document(text: Any) -> Any:
    return json.loads(text if isinstance(text, (str, bytes)) else str(text), parse_float=Decimal)


def at_address(text: str) -> Any:
    found = ip_interface(text)
    return found.ip if found.network.prefixlen == found.max_prefixlen else found


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
    "at": (
        "DATETIME",
        "timestamptz",
        at_once,
        ("2026-01-05 10:00:00", "2026-01-05 10:00:00.000001", "0001-01-01 00:00:00"),
    ),
    "iv": (
        "DATETIME",
        "interval",
        lasting,
        ("1970-01-01 00:00:01", "1969-12-31 23:59:59.999999", "1971-01-01 00:00:00"),
    ),
    "mc": ("BIGINT", "interval", lasting, (0, -1, 86_400_000_000)),
    "js": ("JSON", "json", document, ('{"a": 1}', '{"a": 1.0000000000000000000001}', "[]", '"x"', 7)),
    "jb": (
        "JSON",
        "jsonb",
        document,
        ('{"a": 1, "b": 2}', '{"a": 1.0000000000000000000001}', "null", 7, 0.5),
    ),
    "ad": ("CHAR(39)", "inet", at_address, ("10.0.0.1", "10.0.0.0/8", "2001:db8::1")),
    "ub": (
        "BLOB",
        "uuid",
        lambda value: uuid.UUID(bytes=value),
        tuple(uuid.UUID(int=n << 90).bytes for n in (1, 2, 3)),
    ),
    "dt": ("TEXT", "numeric", Decimal, ("0.10", "123456789012345678901234567890.12", "-7.00")),
    "ci": ("VARCHAR COLLATE NOCASE", "citext", str, ("a", "A", "ä", "Ä")),
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
    "by_float": (["FLOAT double_precision"], [(n / 7,) for n in range(-20, 30)]),
    "by_flag": (["BOOLEAN boolean", "INTEGER bigint"], [(n % 2, n) for n in range(40)]),
    "by_day": (["DATE date"], [(str(date(1999, 12, 1) + timedelta(days=n)),) for n in range(50)]),
    "by_clock": (["TIME time"], [(f"{n % 24:02}:00:00.{n * 20011:06}",) for n in range(49)]),
    "by_stamp": (["DATETIME timestamp"], [(f"2026-01-05T{n % 24:02}:{n:02}:00",) for n in range(50)]),
    "by_instant": (["DATETIME timestamptz"], [(f"2026-01-05 {n % 24:02}:{n:02}:00+05:30",) for n in range(50)]),
    "by_bytes": (["BLOB bytea"], [(bytes([n * 5, 255 - n]),) for n in range(50)]),
    "by_exact": (["DECIMAL numeric"], [(n / 8 if n % 8 else n // 8,) for n in range(-9, 40)]),
    "by_length": (["BIGINT interval"], [(n * 500_000 - 7,) for n in range(50)]),
    "by_address": (["VARCHAR inet"], [(f"10.0.{n}.{n * 3}" if n % 3 else f"2001:DB8::{n:X}",) for n in range(50)]),
    "by_16_bytes": (["BLOB uuid"], [(key.bytes,) for key in UUIDS]),
    "by_odd": (["FLOAT double_precision", "BLOB bytea"], [(n / 3, bytes([n % 7])) for n in range(40)]),
    "by_pair": (["DATETIME timestamptz", "BLOB uuid"], [(f"2026-01-05 10:00:{n:02}", key.bytes) for n, key in enumerate(UUIDS[:50])]),
    "no_rowid": (["VARCHAR text", "INTEGER bigint"], [(t, n) for n in (1, 2) for t in TEXTS[:20]]),
}  # fmt: skip
ADDED = 6


def ddl(side: Side) -> str:
    made = (
        ["CREATE EXTENSION citext", "CREATE TYPE level AS ENUM ('LOW', 'MEDIUM', 'HIGH')"]
        if side is Side.POSTGRES
        else []
    )
    columns = ", ".join(f"{name} {kinds[side is Side.POSTGRES]}" for name, kinds in COLUMNS.items())
    for table, (kinds, _) in KEYS.items():
        key = ", ".join(
            f"k{n} {kind.split()[side is Side.POSTGRES].replace('_', ' ')} NOT NULL"
            for n, kind in enumerate(kinds)
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


# The judge.


def meant(table: str, row: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Key and values of a row of SQLite as Python's own types."""
    kinds = [kind.split()[1] for kind in KEYS[table][0]]
    key = tuple(KEY_MEANS.get(kind, lambda v: v)(v) for kind, v in zip(kinds, row, strict=False))
    values = zip(COLUMNS.values(), row[len(kinds) :], strict=True)
    return key, tuple(None if value is None else of[2](value) for of, value in values)


KEY_MEANS: dict[str, Means] = {
    "uuid": lambda value: uuid.UUID(value) if isinstance(value, str) else uuid.UUID(bytes=value),
    "boolean": bool,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timestamp": datetime.fromisoformat,
    "timestamptz": at_once,
    "numeric": lambda value: Decimal(repr(value)),
    "interval": lasting,
    "inet": at_address,
}


def printed(value: Any) -> str:
    """A key's value as verify names it."""
    match value:
        case bool():
            return "t" if value else "f"
        case bytes():
            return f"\\x{value.hex()}"
        case datetime():
            local = value.replace(tzinfo=None).isoformat(" ", "microseconds")
            return local if value.tzinfo is None else local + "+00"
        case time():
            return value.isoformat("microseconds")
        case timedelta():
            return f"{value // timedelta(microseconds=1)} microseconds"
    return str(value)


def differing(pair: SmallPair) -> set[tuple[str, str]]:
    """Table and key, as verify prints it, of each row that is not the same on both sides."""
    found = set()
    with sqlite3.connect(pair.path) as sqlite, connect(pair.url) as postgres:
        set_json_loads(document, postgres)
        postgres.execute("SET TimeZone = 'UTC'")
        for table, (kinds, _) in KEYS.items():
            ours = dict(meant(table, row) for row in sqlite.execute(f"SELECT * FROM {table}"))
            rows = postgres.execute(f"SELECT * FROM {table}".encode()).fetchall()
            theirs = {row[: len(kinds)]: row[len(kinds) :] for row in rows}
            for key in ours.keys() | theirs.keys():
                if key not in ours or key not in theirs or ours[key] != theirs[key]:
                    texts = list(map(printed, key))
                    found.add((table, texts[0] if len(texts) == 1 else json.dumps(texts)))
    sqlite.close()
    return found
