"""Rows of SQLite in COPY's binary format, for tables whose column types have a simple one.

Which values may be copied is decided where it always is, by `app.db.rows.canonical`. A column in which every
value is ordinary is packed as it is. Any other goes value by value through the canonical text, which is then
packed. Work is done a column at a time in C. Fields of one width (numbers, times, texts of one length) are
packed all at once and woven into the rows by strided slices. Other texts are joined row by row, and encoded
once where they repeat.

Against the text format this saves printing and parsing every number and time, on both sides.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, repeat
from operator import itemgetter
from typing import Any

from app.db.rows.canonical import is_plain
from app.db.rows.catalog import Column, Row, Table
from app.db.rows.kinds import Kind
from app.db.rows.refused import Rejected
from app.db.sides.postgres.target import encode_rows
from migration.fill.binary.fields import CANONICAL, PLAIN, WIDTHS, Numbers, encoded, timestamps

SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
NULL = b"\xff\xff\xff\xff"
_WOVEN = 64  # characters up to which texts of one length are put into the rows byte by byte
_REPEATS = 4  # a text column is looked up by value when each occurs so often on average
_stamps: dict[Any, int] = {}  # microseconds from 2000, by the text in SQLite
_REMEMBERED = 50_000
_MINUS_ZERO = struct.pack(">d", -0.0)


class OutOfRange(ValueError):
    """A number that its column on PostgreSQL is too narrow for."""


@dataclass(frozen=True)
class _Fixed:
    """A column whose fields have one width: each begins `stride` bytes after the one before.

    With a stride of 0 the field is the same in every row.
    """

    width: int
    stride: int
    data: bytes


_Pieces = Iterable[bytes]  # of a column: one field per row, its length in front


def supports(table: Table) -> bool:
    """Whether every column of a table has a binary form here."""
    return all(column.cast in WIDTHS for column in table.columns)


def encode_binary(table: Table, rows: Sequence[Row]) -> tuple[bytes | bytearray, int, list[Rejected]]:
    """Rows in binary form without signature and trailer, how many they are, and those refused.

    Raises:
        OutOfRange: PostgreSQL would refuse a number.
    """
    columns = list(zip(*rows, strict=True))
    fields: list[_Fixed | _Pieces] = []
    for column, values in zip(table.columns, columns, strict=True):
        field = _plain(column, values)
        if field is None:
            return _by_canonical_text(table, rows)
        fields.append(field)
    return _weave(fields, len(rows)), len(rows), []


def _plain(column: Column, values: Sequence[Any]) -> _Fixed | _Pieces | None:
    """A column all of whose values are ordinary. None if any needs a closer look."""
    if column.kind is Kind.TEXT and not column.is_limited:
        return _texts(column, values)
    if column.kind is Kind.TIMESTAMP and not column.is_limited:
        return _times_seen(column, values)
    types = set(map(type, values))
    nullable = type(None) in types
    types.discard(type(None))
    if nullable and not column.nullable:
        return None
    present = [value for value in values if value is not None] if nullable else values
    if types and not (is_plain(column.kind, types, present) and not column.is_limited):
        return None
    if not types:
        return repeat(NULL, len(values))
    numbers = PLAIN[column.kind]
    return None if numbers is None else _pack(column, values, present, numbers)


def _times_seen(column: Column, values: Sequence[Any]) -> _Fixed | _Pieces | None:
    """Times that were seen before need no second look: bars of many symbols share theirs."""
    try:
        return _fixed(column, "q", list(map(_stamps.__getitem__, values)), len(values))
    except KeyError:
        present = [value for value in values if value is not None]
    if len(present) < len(values) and not column.nullable:
        return None
    if len(_stamps) > _REMEMBERED:
        _stamps.clear()
    fresh = [value for value in dict.fromkeys(present) if value not in _stamps]
    if fresh and not is_plain(Kind.TIMESTAMP, set(map(type, fresh)), fresh):
        return None
    _stamps.update(zip(fresh, timestamps(fresh), strict=True))
    return _pack(column, values, present, lambda times: map(_stamps.__getitem__, times))


def _texts(column: Column, values: Sequence[Any]) -> _Fixed | _Pieces | None:
    if fixed := _texts_of_one_length(values):
        return fixed
    distinct = set(values)
    nullable = None in distinct
    distinct.discard(None)
    if nullable and not column.nullable:
        return None
    few = len(distinct) * _REPEATS <= len(values)
    present: Sequence[Any] = (
        list(distinct) if few else [v for v in values if v is not None] if nullable else values
    )
    if present and not is_plain(Kind.TEXT, set(map(type, present)), present):
        return None
    if not few:
        return _pack(column, values, present, encoded)
    known: dict[str | None, bytes] = dict(zip(present, _prefixed(map(str.encode, present)), strict=True))
    known[None] = NULL
    return map(known.__getitem__, values)


def _texts_of_one_length(values: Sequence[Any]) -> _Fixed | None:
    """Ordinary short texts that have as many bytes each. None for any others."""
    ends = values[0], values[-1]
    if set(map(type, ends)) != {str} or len(ends[0]) != len(ends[1]) or len(ends[0]) > _WOVEN:
        return None
    try:
        data = "\0".join(values).encode()
    except (TypeError, UnicodeEncodeError):
        return None
    between = len(values) - 1
    width = data.find(b"\0") if between else len(data)
    aligned = len(data) == len(values) * (width + 1) - 1 and data[width :: width + 1] == bytes(between)
    if not aligned or data.count(b"\0") != between:
        return None
    if data[width + 1 :] == data[: -width - 1]:
        return _Fixed(width, 0, data[:width])
    return _Fixed(width, width + 1, data)


def _pack(
    column: Column, values: Sequence[Any], present: Sequence[Any], numbers: Numbers
) -> _Fixed | _Pieces:
    code = WIDTHS[column.cast]
    if code is None:
        pieces = _prefixed(numbers(present))
    else:
        fixed = _fixed(column, code, numbers(present), len(present))
        if len(present) == len(values):
            return fixed
        pieces = _cut(_block([fixed], len(present), b""), len(present)) if present else []
    if len(present) == len(values):
        return pieces
    following = iter(pieces)
    return [NULL if value is None else next(following) for value in values]


def _fixed(column: Column, code: str, numbers: Iterable[Any], count: int) -> _Fixed:
    try:
        packed = struct.pack(f">{count}{code}", *numbers)
    except struct.error as error:
        raise OutOfRange(f"{column.name}: {error}") from None
    if column.kind is Kind.FLOAT and _MINUS_ZERO in packed:
        packed = struct.pack(f">{count}d", *(v + 0.0 for v in struct.unpack(f">{count}d", packed)))
    width = struct.calcsize(f">{code}")
    return _Fixed(width, width, packed)


def _prefixed(values: Iterable[bytes]) -> _Pieces:
    length = struct.Struct(">i").pack
    return [length(len(value)) + value for value in values]


def _by_canonical_text(table: Table, rows: Sequence[Row]) -> tuple[bytes | bytearray, int, list[Rejected]]:
    columns, rejected = encode_rows(table, rows)
    count = len(columns[0])
    fields: list[_Fixed | _Pieces] = []
    for column, texts in zip(table.columns, columns, strict=True):
        present = [text for text in texts if text is not None]
        numbers = CANONICAL[column.kind]
        assert numbers is not None, f"{column.name} has no binary form"  # see `supports`
        fields.append(_pack(column, texts, present, numbers))
    return _weave(fields, count) if count else b"", count, rejected


def _weave(fields: Sequence[_Fixed | _Pieces], count: int) -> bytes | bytearray:
    """Rows of their fields; neighbours of fixed width are laid out together."""
    woven: list[bytearray | _Pieces] = []
    group: list[_Fixed] = []
    head = struct.pack(">h", len(fields))
    for field in fields:
        if isinstance(field, _Fixed):
            group.append(field)
            continue
        if group or head:
            woven.append(_block(group, count, head))
            group, head = [], b""
        woven.append(field)
    if group or head:
        woven.append(_block(group, count, head))
    if len(woven) == 1 and isinstance(woven[0], bytearray):
        return woven[0]
    pieces = [_cut(part, count) if isinstance(part, bytearray) else part for part in woven]
    return b"".join(chain.from_iterable(zip(*pieces, strict=True)))


def _block(group: Sequence[_Fixed], count: int, head: bytes) -> bytearray:
    """Fields of fixed width side by side, once for each row, after `head`."""
    template = head + b"".join(
        struct.pack(">i", field.width) + (bytes(field.width) if field.stride else field.data)
        for field in group
    )
    row = len(template)
    block = bytearray(template * count)
    at = len(head)
    for field in group:
        at += 4
        if field.stride:
            for n in range(field.width):
                block[at + n :: row] = field.data[n :: field.stride]
        at += field.width
    return block


def _cut(block: bytearray, count: int) -> _Pieces:
    return map(_first, _splitter(len(block) // count).iter_unpack(block))


_first = itemgetter(0)


@cache
def _splitter(width: int) -> struct.Struct:
    return struct.Struct(f"{width}s")
