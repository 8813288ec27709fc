"""Every kind of column: what it means in Python, how SQLite spells it, and how both sides are read back.

Nothing here is taken from the tool: types, spellings and the reading of a stored value are written down anew.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import ip_address, ip_interface
from random import Random
from typing import Any

EPOCH = datetime(1970, 1, 1)
LETTERS = "abcXYZ019 '\"%\\\n\täß₹漢😀{}$:?_-"
Value = Any


@dataclass(frozen=True)
class Style:
    """One way in which an application declares and spells a kind on SQLite.

    `affine`: whether the declared type gives SQLite's column an affinity that STRICT tables do not have by this name.
    """

    declared: str
    strict: str
    spell: Callable[[Value], Any]


@dataclass(frozen=True)
class FuzzKind:
    """A kind: PostgreSQL's type, styles on SQLite, a maker of values, and the reading of what SQLite stores."""

    name: str
    postgres: str
    styles: tuple[Style, ...]
    make: Callable[[Random], Value]
    read: Callable[[Any], Value]
    can_be_key: bool = True

    def bound(self, value: Value) -> Any:
        """A value as a driver binds it for PostgreSQL."""
        return document_text(value) if value is not None and self.name in ("json", "jsonb") else value


def _text(rng: Random) -> str:
    return "".join(rng.choice(LETTERS) for _ in range(rng.choice((0, 1, 3, 8, 40))))


def _moment(rng: Random) -> datetime:
    micro = rng.choice((0, 0, 120_000, 1, 999_999, rng.randrange(10**6)))
    return datetime(rng.randrange(1900, 2100), rng.randrange(1, 13), rng.randrange(1, 29), rng.randrange(24), rng.randrange(60), rng.choice((0, rng.randrange(60))), micro)  # fmt: skip


def _float(rng: Random) -> float:
    return rng.choice(
        (0.0, 0.1, 1 / 3, 1e300, 5e-324, -2.5, math.inf, rng.uniform(-1e6, 1e6), float(rng.randrange(100)))
    )


def _document(rng: Random, depth: int = 2) -> Any:
    if depth and rng.random() < 0.7:
        if rng.random() < 0.5:
            return {_text(rng): _document(rng, depth - 1) for _ in range(rng.randrange(4))}
        return [_document(rng, depth - 1) for _ in range(rng.randrange(4))]
    return rng.choice(
        (None, True, False, _text(rng), rng.randrange(10**6), Decimal(rng.randrange(10**9)) / 1000)
    )


def document_text(value: Any) -> str:
    """A document with every digit of its numbers."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)}: {document_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(document_text, value)) + "]"
    return json.dumps(value)


def read_document(text: Any) -> Any:
    """A document with exact numbers, all of one type."""
    stored = text if isinstance(text, (str, bytes)) else repr(text)
    return json.loads(stored, parse_float=_number, parse_int=_number)


def _number(digits: str) -> Decimal:
    return Decimal(digits) + 0


def _stamp(moment: datetime, mark: str = " ", zone: str = "", short: bool = False) -> str:
    clock = moment.strftime("%H:%M:%S") + (
        "" if short and not moment.microsecond else f".{moment.microsecond:06}"
    )
    return f"{moment.date().isoformat()}{mark}{clock}{zone}"


def _read_instant(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _read_interval(stored: Any) -> timedelta:
    return (
        timedelta(microseconds=stored) if isinstance(stored, int) else datetime.fromisoformat(stored) - EPOCH
    )


def _read_uuid(stored: Any) -> uuid.UUID:
    return uuid.UUID(bytes=stored) if isinstance(stored, bytes) else uuid.UUID(stored)


def _address(rng: Random) -> Any:
    if rng.random() < 0.3:
        return ip_interface(f"10.{rng.randrange(256)}.0.0/16")
    return (
        ip_address(rng.getrandbits(32)) if rng.random() < 0.6 else ip_address(rng.getrandbits(128) | 1 << 127)
    )


def _read_address(text: str) -> Any:
    found = ip_interface(text)
    return found.ip if found.network.prefixlen == found.max_prefixlen else found


def _same(value: Value) -> Any:
    return value


_India = timedelta(hours=5, minutes=30)
KINDS: tuple[FuzzKind, ...] = (
    FuzzKind("integer", "bigint", (Style("INTEGER", "INTEGER", _same), Style("BIGINT", "INT", _same)),
             lambda rng: rng.choice((0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), rng.randrange(-1000, 1000))), int),
    FuzzKind("float", "double precision", (Style("FLOAT", "REAL", _same), Style("DOUBLE", "REAL", _same)), _float, float),
    FuzzKind("boolean", "boolean", (Style("BOOLEAN", "INTEGER", int),), lambda rng: rng.random() < 0.5, bool),
    FuzzKind("text", "text", (Style("VARCHAR(10)", "TEXT", _same), Style("TEXT", "TEXT", _same)), _text, str),
    FuzzKind("enum", "fuzz_level", (Style("VARCHAR", "TEXT", _same),), lambda rng: rng.choice(("LOW", "high", "Mid %", " q ")), str),
    FuzzKind("timestamp", "timestamp", (Style("DATETIME", "TEXT", _stamp), Style("TEXT", "TEXT", lambda m: _stamp(m, "T", short=True))), _moment, datetime.fromisoformat),
    FuzzKind("date", "date", (Style("DATE", "TEXT", str),), lambda rng: _moment(rng).date(), date.fromisoformat),
    FuzzKind("time", "time", (Style("TIME", "TEXT", lambda t: f"{t:%H:%M:%S.%f}"), Style("TEXT", "TEXT", lambda t: t.isoformat())), lambda rng: _moment(rng).time(), time.fromisoformat),
    FuzzKind("blob", "bytea", (Style("BLOB", "BLOB", _same),), lambda rng: rng.randbytes(rng.choice((0, 1, 9))), bytes),
    FuzzKind("numeric", "numeric", (Style("DECIMAL(12, 3)", "REAL", float), Style("TEXT", "TEXT", lambda d: format(d, "f"))),
             lambda rng: Decimal(rng.randrange(-(10**9), 10**9)) / rng.choice((1, 8, 1000)), lambda stored: Decimal(str(stored))),
    FuzzKind("uuid", "uuid", (Style("CHAR(32)", "TEXT", lambda u: u.hex), Style("CHAR(36)", "TEXT", str), Style("VARCHAR", "TEXT", lambda u: str(u).upper()),
                              Style("TEXT", "TEXT", lambda u: f"{{{u}}}"), Style("BLOB", "BLOB", lambda u: u.bytes)),
             lambda rng: uuid.UUID(int=rng.getrandbits(128)), _read_uuid),
    FuzzKind("instant", "timestamptz", (Style("DATETIME", "TEXT", lambda m: _stamp(m.replace(tzinfo=None))), Style("TEXT", "TEXT", lambda m: _stamp(m, "T", "Z")),
                                        Style("TIMESTAMP", "TEXT", lambda m: _stamp(m + _India, " ", "+05:30", short=True))),
             lambda rng: _moment(rng).replace(tzinfo=UTC), _read_instant),
    FuzzKind("interval", "interval", (Style("DATETIME", "TEXT", lambda d: _stamp(EPOCH + d)), Style("BIGINT", "INTEGER", lambda d: d // timedelta(microseconds=1))),
             lambda rng: timedelta(seconds=rng.randrange(-10**9, 10**9), microseconds=rng.choice((0, 1, 500_000))), _read_interval),
    FuzzKind("json", "json", (Style("JSON", "TEXT", document_text), Style("TEXT", "TEXT", document_text)), _document, read_document, can_be_key=False),
    FuzzKind("jsonb", "jsonb", (Style("JSON", "TEXT", document_text), Style("TEXT", "TEXT", document_text)), _document, read_document, can_be_key=False),
    FuzzKind("address", "inet", (Style("CHAR(39)", "TEXT", str), Style("VARCHAR", "TEXT", lambda a: str(a).upper())), _address, _read_address),
)  # fmt: skip
BY_NAME = {kind.name: kind for kind in KINDS}
