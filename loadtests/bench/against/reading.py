"""What an application reads after a move, against what it read before: each row of each table, through its own types."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

Rows = dict[Any, Sequence[Any]]


@dataclass
class Read:
    """Rows by what became of them, and columns with values that read differently (or cannot be read)."""

    rows: int = 0
    right: int = 0
    altered: int = 0
    missing: int = 0
    added: int = 0
    columns: dict[str, str] = field(default_factory=dict)  # an example each

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def compare(tables: Sequence[sa.Table], before: sa.Engine, after: sa.Engine) -> Read:
    """Compare all rows of some tables."""
    read = Read()
    for table in tables:
        old = _rows(table, list(table.columns), before)
        read.rows += len(old)
        columns = [column for column in table.columns if _readable(table, column, after, read)]
        if not columns or any(key not in columns for key in table.primary_key):
            read.missing += len(old)
            continue
        new = _rows(table, columns, after)
        read.added += len(new.keys() - old.keys())
        whole = len(columns) == len(table.columns)
        for key, row in old.items():
            if key not in new:
                read.missing += 1
                continue
            kept = dict(zip(table.columns.keys(), row, strict=True))
            wrong = {
                column.name: (kept[column.key], value)
                for column, value in zip(columns, new[key], strict=True)
                if not same(kept[column.key], value)
            }
            for name, (was, is_now) in wrong.items():
                read.columns.setdefault(f"{table.name}.{name}", f"{was!r} reads as {is_now!r}"[:120])
            read.right += whole and not wrong
            read.altered += not whole or bool(wrong)
    return read


def _readable(table: sa.Table, column: sa.Column[Any], engine: sa.Engine, read: Read) -> bool:
    try:
        with engine.connect() as connection:
            for _ in connection.execute(sa.select(column)):
                pass
    except (SQLAlchemyError, LookupError, TypeError, ValueError, AttributeError) as error:
        named = type(getattr(error, "orig", None) or error).__name__
        read.columns[f"{table.name}.{column.name}"] = f"cannot be read: {named}"
        return False
    return True


def _rows(table: sa.Table, columns: Sequence[sa.Column[Any]], engine: sa.Engine) -> Rows:
    keys = [columns.index(column) for column in table.primary_key]
    with engine.connect() as connection:
        found = connection.execute(sa.select(*columns))
        return {tuple(row[at] for at in keys): tuple(row) for row in found}


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same to an application: of one type, zeros by their sign."""
    if isinstance(one, float) and isinstance(other, float):
        return (math.isnan(one) and math.isnan(other)) or (
            one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    return type(one) is type(other) and bool(one == other)
