"""The revisions of the native branch, and what they change of a database's schema."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

REVISIONS = ["n001", "n002", "n003", "n004"]


def schema(engine: Engine) -> dict[str, set[Any]]:
    """Constraints with their state, valid indexes, nullability, functions."""
    queries = {
        "constraints": "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version_native'",
        "indexes": "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid), indisvalid FROM pg_index i"
        " JOIN pg_class c ON c.oid = indrelid WHERE relnamespace = 'public'::regnamespace"
        " AND relname <> 'alembic_version_native'",
        "columns": "SELECT attrelid::regclass::text, attname, attnotnull, atttypid::regtype::text FROM pg_attribute"
        " JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
        " AND attnum > 0 AND relname <> 'alembic_version_native'",
        "functions": "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    }
    with engine.connect() as connection:
        return {name: {tuple(row) for row in connection.execute(sa.text(q))} for name, q in queries.items()}
