"""Statements that change or insert many rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, cast

from sqlalchemy import Connection, CursorResult, Delete, Table, Update, insert
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import Session

Row = dict[str, Any]
_PARAMETERS_AT_MOST: Final = 30_000  # of one statement; SQLite takes 32,766, PostgreSQL 65,535


def changed_rows(db: Session, statement: Update | Delete) -> int:
    """Execute a bulk update or delete and return how many rows it hit; loaded objects are not refreshed."""
    options = {"synchronize_session": False}
    return cast("CursorResult[Any]", db.execute(statement, execution_options=options)).rowcount


def insert_many(connection: Connection, table: Table, rows: Sequence[Row]) -> list[int]:
    """Insert rows that all have the same members; returns their ids, in the order of the rows.

    Columns that are no member get what the database gives them: NULL or its default, not the model's default.
    The connection has the write lock if it is one to SQLite.
    """
    if not rows:
        return []
    if connection.dialect.name == "sqlite":
        return _insert_into_sqlite(connection, table, rows)
    statement = insert(table).returning(table.c.id, sort_by_parameter_order=True)
    return list(connection.execute(statement, list(rows)).scalars())


def _insert_into_sqlite(connection: Connection, table: Table, rows: Sequence[Row]) -> list[int]:
    """Statements of many rows each, without RETURNING.

    Each row that Python fetches lets another thread take the interpreter; while a burst arrives, hundreds of
    them would take seconds. A statement numbers its rows in order and without gaps, because nobody else writes.
    """
    names = tuple(rows[0])
    head, one, encoders = _sqlite_insert(table, names, connection.dialect)
    ids: list[int] = []
    step = max(1, _PARAMETERS_AT_MOST // len(names))
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        values = [
            value if encode is None or value is None else encode(value)
            for row in part
            for value, encode in zip(row.values(), encoders, strict=True)
        ]
        text = head + ",".join([one] * len(part))
        last = int(connection.exec_driver_sql(text, tuple(values)).lastrowid)
        ids.extend(range(last - len(part) + 1, last + 1))
    return ids


@lru_cache(maxsize=64)
def _sqlite_insert(
    table: Table, names: tuple[str, ...], dialect: Dialect
) -> tuple[str, str, list[Callable[[Any], Any] | None]]:
    quote = dialect.identifier_preparer
    columns = ", ".join(quote.quote(name) for name in names)
    head = f"INSERT INTO {quote.format_table(table)} ({columns}) VALUES "
    encoders = [table.c[name].type.dialect_impl(dialect).bind_processor(dialect) for name in names]
    return head, f"({','.join('?' * len(names))})", encoders
