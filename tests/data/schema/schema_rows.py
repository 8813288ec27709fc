"""Reads and writes rows as they are stored, without the types of an ORM between."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any

import sqlalchemy as sa

Row = Mapping[str, Any]


def write(connection: sa.Connection, table: str, rows: list[Row]) -> None:
    """Insert rows as recorded on SQLite; on PostgreSQL the numbers of Boolean columns become Booleans."""
    boolean = {
        column["name"]
        for column in sa.inspect(connection).get_columns(table)
        if isinstance(column["type"], sa.Boolean)
    }
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    for row in rows:
        values = tuple(
            bool(value)
            if connection.dialect.name != "sqlite" and name in boolean and value is not None
            else value
            for name, value in row.items()
        )
        names = ", ".join(row)
        marks = ", ".join([mark] * len(row))
        connection.exec_driver_sql(f"INSERT INTO {table} ({names}) VALUES ({marks})", values)


def read(connection: sa.Connection, table: str, columns: list[str], order: str = "id") -> list[Row]:
    """Rows as SQLite stores them: Booleans as numbers, times as text."""
    names = ", ".join(columns)
    result = connection.exec_driver_sql(f"SELECT {names} FROM {table} ORDER BY {order}")
    return [{name: stored(value) for name, value in row.items()} for row in result.mappings()]


def stored(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    return str(value) if isinstance(value, date | datetime | time) else value


def fill(connection: sa.Connection, rows: int) -> list[str]:
    """Put rows with ids from 100 on into every table; returns the tables.

    A row has values in the columns that need one and in those that refer to another table.
    """
    inspector = sa.inspect(connection)
    tables = []
    for table, _ in inspector.get_sorted_table_and_fkc_names():
        if table is None or table == "alembic_version":
            continue
        write(connection, table, [_row(inspector, table, number + 100) for number in range(rows)])
        tables.append(table)
    return tables


def _row(inspector: sa.Inspector, table: str, number: int) -> dict[str, Any]:
    targets = {
        column: key["referred_table"]
        for key in inspector.get_foreign_keys(table)
        for column in key["constrained_columns"]
    }
    allowed: dict[str, str] = {}
    for check in inspector.get_check_constraints(table):
        found = re.search(r"(\w+)\W.*?'([^']*)'", check["sqltext"])
        if found:
            allowed.setdefault(found[1], found[2])
    row: dict[str, Any] = {"id": number}
    for column in inspector.get_columns(table):
        name = column["name"]
        if name in ("id", *row):
            continue
        if name in targets:
            row[name] = number
        elif name in allowed:
            row[name] = allowed[name]
        elif not column["nullable"] and column["default"] is None:
            row[name] = _value(column["type"], number)
    if row.get("scope") == "GLOBAL" and table == "risk_settings":
        row |= {"scope": "STRATEGY"}
    if table == "strategy_deployments":
        row["symbol"] = "INFY"
    return row


def _value(kind: sa.types.TypeEngine[Any], number: int) -> Any:
    if isinstance(kind, sa.DateTime):
        return f"2025-12-20 10:00:00.{number:06}"
    if isinstance(kind, sa.Date):
        return "2025-12-20"
    if isinstance(kind, sa.Integer | sa.Float | sa.Boolean):
        return number
    return f"text {number}"
