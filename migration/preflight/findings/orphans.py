"""Clearing references to parents that are gone, where the policy file asks for it.

The default keeps orphans as they are and the foreign key NOT VALID. `set_null_orphan` on a nullable foreign
key column does late what ON DELETE SET NULL would have done. It is an ordinary write on the primary, in one
transaction, which capture logs like any other. So both sides get it, and the key can be validated.
"""

from __future__ import annotations

import sqlite3

from app.db.common.errors import ConfigurationError
from app.db.rows.catalog import quote
from app.db.rows.policy import ORPHANS_TO_NULL, Policy


def clear_orphans(connection: sqlite3.Connection, policy: Policy) -> dict[str, int]:
    """Set every chosen column to NULL where its parent is gone, in the caller's write transaction.

    Returns:
        Rows changed per `table.column`.

    Raises:
        ConfigurationError: a chosen column is not a nullable foreign key of one column.
    """
    changed: dict[str, int] = {}
    for (table, column), names in policy.columns.items():
        if ORPHANS_TO_NULL in names:
            statement = clearing_statement(connection, table, column)
            if statement is None:
                raise ConfigurationError(
                    f"{policy.source}: table {table}, column {column}: {ORPHANS_TO_NULL} needs a nullable "
                    "foreign key of one column",
                    hint="remove the line; orphans are then kept as they are",
                )
            changed[f"{table}.{column}"] = connection.execute(statement).rowcount
    return changed


def clearing_statement(connection: sqlite3.Connection, table: str, column: str) -> str | None:
    """The statement that clears a column's orphans. None if it is not a nullable key of one column."""
    info = {row[1]: row for row in connection.execute(f"PRAGMA table_info({quote(table)})")}
    keys = connection.execute(f"PRAGMA foreign_key_list({quote(table)})").fetchall()
    own = [row for row in keys if row[3] == column and sum(other[0] == row[0] for other in keys) == 1]
    if not own or info[column][3] or info[column][5]:
        return None
    parent, target = own[0][2], own[0][4]
    if target is None:  # the parent's primary key is meant
        parts = connection.execute(f"PRAGMA table_info({quote(parent)})").fetchall()
        target = next(row[1] for row in parts if row[5])
    return (
        f"UPDATE {quote(table)} SET {quote(column)} = NULL WHERE {quote(column)} IS NOT NULL AND NOT EXISTS "
        f"(SELECT 1 FROM {quote(parent)} AS p WHERE p.{quote(target)} = {quote(table)}.{quote(column)})"
    )
