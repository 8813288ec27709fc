"""Which rows lose their parent when a row in quarantine stays behind."""

from __future__ import annotations

from typing import Any

from app.db.common.urls import Side
from app.db.rows.catalog import quote, sqlite_columns
from app.db.sides.stores import Stores
from migration.watch.quarantine import Held

SHOWN = 5


def orphans_of(stores: Stores, rows: list[Held]) -> list[dict[str, Any]]:
    """Children on SQLite of rows that stand in quarantine: parent, its key, table, columns, rows, first row ids.

    Empty while PostgreSQL is primary: there the rows' children have stood without them already.
    """
    if stores.directions()[0].side is not Side.SQLITE:
        return []
    children = _children(stores)
    return [
        found
        for row in rows
        for child, columns, referenced in children.get(row.table, [])
        if (found := _found(stores, row, child, columns, referenced)) is not None
    ]


def _children(stores: Stores) -> dict[str, list[tuple[str, list[str], list[str]]]]:
    """Parent to (child, columns, referenced columns), as SQLite declares its foreign keys."""
    connection = stores.sqlite.connection
    found: dict[str, list[tuple[str, list[str], list[str]]]] = {}
    for table in sqlite_columns(connection):
        keys: dict[int, tuple[str, list[str], list[str]]] = {}
        for number, _, parent, column, referenced, *_ in connection.execute(
            f"PRAGMA foreign_key_list({quote(table)})"
        ).fetchall():
            _, columns, targets = keys.setdefault(number, (parent, [], []))
            columns.append(column)
            targets.append(referenced or "")
        for parent, columns, targets in keys.values():
            if not all(targets):  # a key that names no columns means the parent's primary key
                targets = _primary_key(stores, parent)
            found.setdefault(parent, []).append((table, columns, targets))
    return found


def _primary_key(stores: Stores, table: str) -> list[str]:
    rows = stores.sqlite.connection.execute(f"PRAGMA table_info({quote(table)})").fetchall()
    return [row[1] for row in sorted(rows, key=lambda row: row[5]) if row[5]]


def _plain(stored: Any) -> Any:
    """A value out of the quarantine's JSON, if it may be a key."""
    return stored.get("text") if isinstance(stored, dict) else stored


def _found(
    stores: Stores, row: Held, child: str, columns: list[str], referenced: list[str]
) -> dict[str, Any] | None:
    values = [_plain(row.content.get(name)) for name in referenced]
    if any(not isinstance(value, (int, float, str)) for value in values):
        return None
    where = " AND ".join(f"{quote(column)} = ?" for column in columns)
    connection = stores.sqlite.connection
    (count,) = connection.execute(f"SELECT count(*) FROM {quote(child)} WHERE {where}", values).fetchone()
    if not count:
        return None
    key = _primary_key(stores, child)
    listed = ", ".join(map(quote, key))
    first = connection.execute(
        f"SELECT {listed} FROM {quote(child)} WHERE {where} ORDER BY {listed} LIMIT {SHOWN}", values
    ).fetchall()
    return {
        "parent": row.table,
        "key": row.key,
        "table": child,
        "columns": ", ".join(columns),
        "rows": count,
        "first": [" ".join(map(str, values)) for values in first],
    }
