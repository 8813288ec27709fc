"""Rows that stand against a constraint, set aside in a table of their own, and brought back as they were.

An orphan of a key that sets NULL when a parent goes stays where it is, and only its reference is set aside. Any other
row goes as a whole. A row that other rows point to is refused, because they would go or change with it. What is brought
back stands against its constraint again, which then holds for new rows only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import sqlalchemy as sa

from app.db.common.errors import Refused
from app.native.report import Rule, rules
from app.native.wanted import NOT_NULLS, ONLY_ONES

TABLE: Final = "native_set_aside"
# json, not jsonb: it keeps every digit, and a zero's sign.
_CREATE: Final = f"""
CREATE TABLE IF NOT EXISTS {TABLE} (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, constraint_name text NOT NULL, table_name text NOT NULL,
  row_id bigint NOT NULL, reference text, content json NOT NULL,
  set_aside_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'utc'))
"""
_CHILDREN: Final = """
SELECT c.conrelid::regclass::text, a.attname FROM pg_constraint c
JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
WHERE c.contype = 'f' AND c.confrelid = to_regclass(:table) AND cardinality(c.conkey) = 1 ORDER BY 1, 2
"""
_DEFINED: Final = """
SELECT regexp_replace(pg_get_constraintdef(oid), ' NOT VALID$', '') FROM pg_constraint
WHERE conname = :name AND conrelid = to_regclass(:table)
"""


def set_aside(connection: sa.Connection, name: str) -> int:
    """Set aside what stands against a constraint; returns the number of rows.

    Raises:
        Refused: no constraint of the report has the name, or rows elsewhere point to one of these rows.
    """
    rule = next((one for one in rules(connection) if one.name == name), None)
    if rule is None:
        raise Refused(f"{name} is no constraint that rows can stand against", hint="see the report")
    with _transaction(connection):
        _run(connection, _CREATE)
        chosen = f"SELECT id FROM {rule.table} WHERE {rule.against}"
        _run(connection, f"{chosen} FOR UPDATE")  # nothing new points to them from here on
        content = (
            f"json_build_object('{rule.reference}', {rule.reference})"
            if rule.reference
            else f"row_to_json({rule.table})"
        )
        kept = sa.text(
            f"INSERT INTO {TABLE} (constraint_name, table_name, row_id, reference, content)"
            f" SELECT :name, '{rule.table}', id, :reference, {content} FROM {rule.table} WHERE {rule.against} ORDER BY id"
        )
        rows = connection.execute(kept, {"name": name, "reference": rule.reference}).rowcount
        if rule.reference:
            _run(connection, f"UPDATE {rule.table} SET {rule.reference} = NULL WHERE {rule.against}")
        else:
            _require_childless(connection, rule)
            _run(connection, f"DELETE FROM {rule.table} WHERE {rule.against}")
    return rows


def bring_back(connection: sa.Connection, name: str) -> int:
    """Bring back what was set aside for a constraint, as it was; returns the number of rows.

    Raises:
        Refused: the constraint would not let them, or their places are taken.
    """
    if not sa.inspect(connection).has_table(TABLE):
        return 0
    groups = connection.execute(
        sa.text(f"SELECT DISTINCT table_name, reference FROM {TABLE} WHERE constraint_name = :name"),
        {"name": name},
    ).all()
    rows = 0
    with _transaction(connection):
        for table, reference in groups:
            definition = connection.scalar(sa.text(_DEFINED), {"name": name, "table": table})
            _require_open(connection, name)
            if definition:
                _run(connection, f"ALTER TABLE {table} DROP CONSTRAINT {name}")
            rows += _return(connection, name, table, reference)
            if definition:
                _run(connection, f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition} NOT VALID")
        if not connection.scalar(sa.text(f"SELECT count(*) FROM {TABLE}")):
            _run(connection, f"DROP TABLE {TABLE}")
    return rows


def _return(connection: sa.Connection, name: str, table: str, reference: str | None) -> int:
    mine = f"a.constraint_name = :name AND a.table_name = '{table}'"
    was = f"(json_populate_record(NULL::{table}, a.content))"
    free = f"{'' if reference else 'NOT'} EXISTS (SELECT 1 FROM {table} t WHERE t.id = a.row_id"
    free += f" AND t.{reference} IS NULL)" if reference else ")"
    taken = connection.scalars(
        sa.text(f"SELECT a.row_id FROM {TABLE} a WHERE {mine} AND NOT ({free}) ORDER BY 1"), {"name": name}
    ).all()
    if taken:
        raise Refused(
            f"rows of {table} are in the way, ids {list(taken[:10])}",
            hint=f"{table} or its {reference} was written meanwhile"
            if reference
            else "move these rows first",
        )
    if reference:
        put = f"UPDATE {table} SET {reference} = {was}.{reference} FROM {TABLE} a WHERE {mine} AND {table}.id = a.row_id"
    else:
        put = f"INSERT INTO {table} SELECT {was}.* FROM {TABLE} a WHERE {mine}"
    rows = connection.execute(sa.text(put), {"name": name}).rowcount
    connection.execute(sa.text(f"DELETE FROM {TABLE} a WHERE {mine}"), {"name": name})
    return rows


def _require_childless(connection: sa.Connection, rule: Rule) -> None:
    for child, column in connection.execute(sa.text(_CHILDREN), {"table": rule.table}).all():
        chosen = f"SELECT id FROM {rule.table} WHERE {rule.against}"
        count = connection.scalar(sa.text(f"SELECT count(*) FROM {child} WHERE {column} IN ({chosen})"))
        if count:
            raise Refused(
                f"{count} rows of {child} point to rows of {rule.table} that would be set aside",
                hint=f"{rule.correct}, or point {child}.{column} elsewhere",
            )


def _require_open(connection: sa.Connection, name: str) -> None:
    """What holds for all rows or for none cannot be made to hold for new rows only."""
    closed = "SELECT to_regclass(:name) IS NOT NULL" if name in {one.name for one in ONLY_ONES} else None
    for one in NOT_NULLS:
        if one.name == name:
            closed = (
                f"SELECT attnotnull FROM pg_attribute WHERE attrelid = '{one.table}'::regclass"
                f" AND attname = '{one.column}'"
            )
    if closed and connection.scalar(sa.text(closed), {"name": name} if ":name" in closed else {}):
        raise Refused(f"{name} does not let them back", hint="take the branch back first: downgrade")


@contextmanager
def _transaction(connection: sa.Connection) -> Iterator[None]:
    """All or nothing, in a session that else commits statement by statement."""
    _run(connection, "BEGIN")
    try:
        yield
    except BaseException:
        _run(connection, "ROLLBACK")
        raise
    _run(connection, "COMMIT")


def _run(connection: sa.Connection, statement: str) -> None:
    connection.exec_driver_sql(statement)
