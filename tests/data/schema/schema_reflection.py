"""Reads a database's schema into plain data that two databases, or a database and a record, can share."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

Schema = dict[str, dict[str, Any]]


def reflect(connection: sa.Connection) -> Schema:
    """Every table but the version table: columns in order, the rest in an order of its own."""
    inspector = sa.inspect(connection)
    return {
        table: _table(inspector, table)
        for table in inspector.get_table_names()
        if table != "alembic_version" and not table.startswith("st_")
    }


def _table(inspector: sa.Inspector, table: str) -> dict[str, Any]:
    key = inspector.get_pk_constraint(table)
    return {
        "columns": [
            {
                "name": column["name"],
                "type": column["type"].compile(inspector.bind.dialect),
                "nullable": column["nullable"],
                "default": column["default"],
                "pk": _position(column["name"], key["constrained_columns"]),
            }
            for column in inspector.get_columns(table)
        ],
        "foreign_keys": ordered(
            {
                "name": key["name"],
                "columns": key["constrained_columns"],
                "ref_table": key["referred_table"],
                "ref_columns": key["referred_columns"],
                "on_delete": key["options"].get("ondelete", "NO ACTION"),
                "on_update": key["options"].get("onupdate", "NO ACTION"),
            }
            for key in inspector.get_foreign_keys(table)
        ),
        "unique_constraints": ordered(
            {"name": key["name"], "columns": key["column_names"]}
            for key in inspector.get_unique_constraints(table)
        ),
        "check_constraints": ordered(
            {"name": check["name"], "sql": check["sqltext"]}
            for check in inspector.get_check_constraints(table)
        ),
        "indexes": ordered(
            {"name": index["name"], "columns": index["column_names"], "unique": bool(index["unique"])}
            for index in inspector.get_indexes(table)
            if not index.get("duplicates_constraint")
        ),
    }


def _position(name: str, key: list[str]) -> int:
    return key.index(name) + 1 if name in key else 0


def ordered(items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Items in an order that does not depend on the database."""
    return sorted(items, key=lambda item: (item.get("columns", []), str(item["name"])))


def values_of_check(sql: str) -> frozenset[str]:
    """What a check says, apart from how a database spells it: its words, and the texts between quotes."""
    bare = re.sub(r"::(text|character varying)(\[\])?", "", sql)
    words = re.findall(r"'[^']*'|[a-z_]+", bare)
    return frozenset(words) - {"in", "any", "array", "and", "or", "is", "not", "null"}


def replay(schema: Schema, revision: dict[str, Any]) -> Schema:
    """The recorded schema after one more revision."""
    result = {name: dict(table) for name, table in schema.items()}
    for name, table in revision["added_tables"].items():
        result[name] = {
            kind: table[kind] if kind == "columns" else ordered(table[kind])
            for kind in ("columns", "foreign_keys", "unique_constraints", "check_constraints", "indexes")
        }
    for name, changes in revision["altered_tables"].items():
        table = result[name]
        table["columns"] = table["columns"] + changes.get("added_columns", [])
        for kind in ("foreign_keys", "unique_constraints", "check_constraints", "indexes"):
            dropped = changes.get(f"dropped_{kind}", [])
            kept = [item for item in table[kind] if item not in dropped]
            table[kind] = ordered(kept + changes.get(f"added_{kind}", []))
    return result
