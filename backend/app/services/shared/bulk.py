"""Statements that change or insert many rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, cast

from pydantic_core import to_json
from sqlalchemy import Column, Connection, CursorResult, Delete, Integer, String, Table, Update
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import Session

Row = dict[str, Any]
_NUMBER: Final = "st_number"
_PARAMETERS_AT_MOST: Final = 30_000  # of one statement; SQLite takes 32,766


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
    return _insert_into_postgres(connection, table, rows)


def _insert_into_postgres(connection: Connection, table: Table, rows: Sequence[Row]) -> list[int]:
    """One statement with one parameter, the rows as JSON, whatever their number.

    A parameter for each value costs the driver more than everything else that is done for a delivery. The
    statement's text is always the same, so the server prepares it once. A sequence numbers the rows in their order.
    """
    names = tuple(rows[0])
    text, encoders = _postgres_insert(table, names, connection.dialect)
    document = [
        {
            name: value if encode is None or value is None else encode(value)
            for (name, value), encode in zip(row.items(), encoders, strict=True)
        }
        | {_NUMBER: number}
        for number, row in enumerate(rows)
    ]
    return sorted(connection.exec_driver_sql(text, {"rows": to_json(document).decode()}).scalars())


@lru_cache(maxsize=64)
def _postgres_insert(
    table: Table, names: tuple[str, ...], dialect: Dialect
) -> tuple[str, list[Callable[[Any], Any] | None]]:
    quote = dialect.identifier_preparer
    columns = ", ".join(quote.quote(name) for name in names)
    types = ", ".join(f"{quote.quote(name)} {_postgres_type(table.c[name], dialect)}" for name in names)
    text = (
        f"INSERT INTO {quote.format_table(table)} ({columns}) SELECT {columns} "
        f"FROM json_to_recordset(%(rows)s::json) AS given({types}, {_NUMBER} integer) "
        f"ORDER BY {_NUMBER} RETURNING id"
    )
    return text, _encoders(table, names, dialect)


def _postgres_type(column: Column[Any], dialect: Dialect) -> str:
    """A type that holds every value of the column; the column's own may be wider than the model says."""
    if isinstance(column.type, Integer):
        return "bigint"
    return "text" if isinstance(column.type, String) else column.type.compile(dialect)


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
    return head, f"({','.join('?' * len(names))})", _encoders(table, names, dialect)


def _encoders(table: Table, names: tuple[str, ...], dialect: Dialect) -> list[Callable[[Any], Any] | None]:
    """What turns a value of each column into the driver's; None: nothing has to."""
    return [table.c[name].type.dialect_impl(dialect).bind_processor(dialect) for name in names]
