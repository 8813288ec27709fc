"""What stands in the database against each wanted constraint: how many rows, and the first of their keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from app.native.wanted import CHECKS, DOCUMENTS, NOT_NULLS, ONLY_ONES, REFERENCES

SHOWN: Final = 10


@dataclass(frozen=True)
class Against:
    """Rows that stand against a constraint; `can_wait`: it can be added without checking the rows that are there."""

    constraint: str
    table: str
    rows: int
    ids: tuple[int, ...]
    can_wait: bool


_NOT_VALID: Final = """
SELECT c.conname, c.conrelid::regclass::text, a.attname, c.confrelid::regclass::text, b.attname
FROM pg_constraint c
JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
JOIN pg_attribute b ON b.attrelid = c.confrelid AND b.attnum = c.confkey[1]
WHERE c.contype = 'f' AND NOT c.convalidated AND cardinality(c.conkey) = 1
AND c.connamespace = current_schema()::regnamespace ORDER BY 2, 1
"""


def not_valid_keys(connection: sa.Connection) -> list[tuple[str, str, str]]:
    """Foreign keys that were never checked: name, table, and what holds for an orphan."""
    return [
        (
            name,
            table,
            f"{column} IS NOT NULL AND NOT EXISTS (SELECT 1 FROM {parent} p WHERE p.{key} = {table}.{column})",
        )
        for name, table, column, parent, key in connection.execute(sa.text(_NOT_VALID))
    ]


def has_documents(connection: sa.Connection) -> bool:
    """Whether the database can read documents, which the branch's third revision teaches it."""
    return bool(connection.scalar(sa.text("SELECT to_regprocedure('native_document(text)') IS NOT NULL")))


def stand_against(connection: sa.Connection) -> list[Against]:
    """Everything that stands against the wanted constraints and against keys that were never checked."""
    checks = (*CHECKS, *(DOCUMENTS if has_documents(connection) else ()))
    wanted = [(one.name, one.table, one.against, True) for one in (*checks, *REFERENCES)]
    wanted += [(one.name, one.table, one.against, False) for one in (*NOT_NULLS, *ONLY_ONES)]
    wanted += [(name, table, against, True) for name, table, against in not_valid_keys(connection)]
    found = []
    for name, table, against, can_wait in wanted:
        rows = connection.scalar(sa.text(f"SELECT count(*) FROM {table} WHERE {against}")) or 0
        if rows:
            keys = connection.scalars(
                sa.text(f"SELECT id FROM {table} WHERE {against} ORDER BY id LIMIT {SHOWN}")
            )
            found.append(Against(name, table, rows, tuple(keys), can_wait))
    return found
