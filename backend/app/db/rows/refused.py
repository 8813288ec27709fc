"""Rows that the other side cannot hold: kept whole, with the reason, until they are fixed or accepted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.db.common.errors import UnsupportedValue
from app.db.rows.canonical import encode
from app.db.rows.catalog import Column, Table


@dataclass(frozen=True)
class Rejected:
    """A row that was refused, as the primary holds it, with the column and the reason."""

    table: Table
    row: Sequence[Any]
    column: str
    reason: str

    def key_text(self) -> str:
        """The row's key as bookkeeping stores it."""
        return join_key(row_key(self.table, self.row))


def row_key(table: Table, row: Sequence[Any]) -> tuple[str, ...]:
    """A row's key as texts, canonical where there is such a form; total, and distinct for distinct rows.

    SQLite lets NULL into keys, several times over; such a part is told apart by the row's content.
    """
    values = dict(zip((column.name for column in table.columns), row, strict=True))
    parts = [key_part(column, values[column.name]) for column in table.key]
    if None in parts:
        content = json.dumps([storage(value) for value in row]).encode()
        digest = f"NULL {hashlib.sha256(content).hexdigest()[:16]}"
        return tuple(digest if part is None else part for part in parts)
    return tuple(part for part in parts if part is not None)


def key_part(column: Column, value: Any) -> str | None:
    """One value of a key as text; None for NULL."""
    try:
        return encode(column.kind, value, column.name)
    except UnsupportedValue:
        return json.dumps(storage(value))


def join_key(parts: Sequence[str | None]) -> str:
    """The parts of a key as bookkeeping stores them, in one text."""
    return parts[0] or "" if len(parts) == 1 else json.dumps(list(parts))


def storage(value: Any) -> Any:
    """A value in JSON such that its storage class and exact bytes can be read back.

    Integers, floats and None stay themselves; text becomes {"text": ...} or, where it is not valid
    UTF-8 or holds a NUL, {"text_hex": ...}; a blob becomes {"blob_hex": ...}.
    """
    if isinstance(value, str):
        raw = value.encode("utf-8", "surrogateescape")
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError:
            return {"text_hex": raw.hex()}
        return {"text_hex": raw.hex()} if "\x00" in value else {"text": value}
    if isinstance(value, bytes):
        return {"blob_hex": value.hex()}
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return {"real": repr(value)}
    return value


def content_of(rejected: Rejected) -> str:
    """The whole row as JSON, column by column."""
    names = (column.name for column in rejected.table.columns)
    return json.dumps(dict(zip(names, map(storage, rejected.row), strict=True)), ensure_ascii=True)
