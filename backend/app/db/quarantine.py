"""Rows that the other side cannot hold: kept whole, with the reason, until they are fixed or accepted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.db.canonical import encode
from app.db.catalog import Table
from app.db.errors import UnsupportedValue


@dataclass(frozen=True)
class Rejected:
    """A row that was refused, as the primary holds it, with the column and the reason."""

    table: Table
    row: Sequence[Any]
    column: str
    reason: str

    def key_text(self) -> str:
        """The row's key as bookkeeping stores it."""
        values = dict(zip((column.name for column in self.table.columns), self.row, strict=True))
        parts: list[str | None] = []
        for column in self.table.key:
            try:
                parts.append(encode(column.kind, values[column.name], column.name))
            except UnsupportedValue:
                parts.append(json.dumps(storage(values[column.name])))
        return parts[0] or "" if len(parts) == 1 else json.dumps(parts)


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
