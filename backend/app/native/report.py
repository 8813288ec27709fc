"""What stands in the database against each wanted constraint: how many rows, the first of their keys, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from app.native.wanted import CHECKS, DOCUMENT, DOCUMENTS, NOT_NULLS, ONLY_ONES, REFERENCES

SHOWN: Final = 10


@dataclass(frozen=True)
class Rule:
    """A wanted constraint as the report sees it.

    `against`: what holds for a row that breaks it; `can_wait`: it can be added without checking the rows that are there;
    `correct`: how to correct such a row; `reference`: the column of a foreign key that becomes NULL when a parent goes.
    """

    name: str
    table: str
    against: str
    can_wait: bool
    correct: str
    reference: str | None = None

    @property
    def remedy(self) -> str:
        """What an operator can do about such rows."""
        aside = f"set them aside with `set-aside {self.name}`"
        return (
            f"{self.correct}, {aside}, or leave them with `upgrade --keep`"
            if self.can_wait
            else f"{self.correct}, or {aside}"
        )


@dataclass(frozen=True)
class Against:
    """Rows that stand against a constraint; `can_wait`: it can be added without checking the rows that are there."""

    constraint: str
    table: str
    rows: int
    ids: tuple[int, ...]
    can_wait: bool
    remedy: str


_NOT_VALID: Final = """
SELECT c.conname, c.conrelid::regclass::text, a.attname, c.confrelid::regclass::text, b.attname, c.confdeltype
FROM pg_constraint c
JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
JOIN pg_attribute b ON b.attrelid = c.confrelid AND b.attnum = c.confkey[1]
WHERE c.contype = 'f' AND NOT c.convalidated AND cardinality(c.conkey) = 1
AND c.connamespace = current_schema()::regnamespace ORDER BY 2, 1
"""
_FOR_NEW_ROWS: Final = """
SELECT conname FROM pg_constraint WHERE NOT convalidated AND connamespace = current_schema()::regnamespace ORDER BY 1
"""


def not_valid_keys(connection: sa.Connection) -> list[Rule]:
    """Foreign keys that were never checked."""
    return [
        Rule(
            name,
            table,
            f"{column} IS NOT NULL AND NOT EXISTS (SELECT 1 FROM {parent} p WHERE p.{key} = {table}.{column})",
            can_wait=True,
            correct=f"bring the rows of {parent} back that {column} names",
            reference=column if on_delete == "n" else None,
        )
        for name, table, column, parent, key, on_delete in connection.execute(sa.text(_NOT_VALID))
    ]


def for_new_rows_only(connection: sa.Connection) -> list[str]:
    """Constraints that were never checked on the rows that were there, by name."""
    return list(connection.scalars(sa.text(_FOR_NEW_ROWS)))


def rules(connection: sa.Connection) -> list[Rule]:
    """Everything that rows may stand against: the wanted constraints, and keys that were never checked."""
    found = [
        Rule(one.name, one.table, one.against, True, f"change them until {one.condition}") for one in CHECKS
    ]
    found += [
        Rule(
            one.name,
            one.table,
            _readable(connection, one.against),
            True,
            "change them until their text is a document",
        )
        for one in DOCUMENTS
    ]
    found += [
        Rule(
            one.name,
            one.table,
            one.against,
            True,
            f"bring the rows of {one.parent} back that {one.column} names",
        )
        for one in REFERENCES
    ]
    found += [
        Rule(one.name, one.table, one.against, False, f"give {one.column} a value") for one in NOT_NULLS
    ]
    found += [
        Rule(one.name, one.table, one.against, False, f"keep one for each {', '.join(one.columns)}")
        for one in ONLY_ONES
    ]
    wanted = {one.name for one in found}
    return found + [one for one in not_valid_keys(connection) if one.name not in wanted]


def stand_against(connection: sa.Connection) -> list[Against]:
    """Everything that stands against the wanted constraints and against keys that were never checked."""
    found = []
    for rule in rules(connection):
        rows = connection.scalar(sa.text(f"SELECT count(*) FROM {rule.table} WHERE {rule.against}")) or 0
        if rows:
            keys = connection.scalars(
                sa.text(f"SELECT id FROM {rule.table} WHERE {rule.against} ORDER BY id LIMIT {SHOWN}")
            )
            found.append(Against(rule.name, rule.table, rows, tuple(keys), rule.can_wait, rule.remedy))
    return found


def _readable(connection: sa.Connection, condition: str) -> str:
    """A condition on documents, also for a database that cannot read them before the branch's third revision.

    The session reads them by a function of its own then, which ends with it.
    """
    if connection.scalar(sa.text("SELECT to_regprocedure('native_document(text)') IS NOT NULL")):
        return condition
    connection.exec_driver_sql(DOCUMENT.replace("native_document(", "pg_temp.native_document("))
    return condition.replace("native_document(", "pg_temp.native_document(")
