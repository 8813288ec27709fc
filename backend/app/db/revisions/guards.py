"""For revisions that may meet a database where part of their work is done already."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op


def missing(table: str, *columns: sa.Column[Any]) -> list[sa.Column[Any]]:
    """Those of `columns` that the table lacks. None if there is no such table."""
    inspector = sa.inspect(op.get_bind())
    if not inspector.has_table(table):
        return []
    present = {column["name"] for column in inspector.get_columns(table)}
    return [column for column in columns if column.name not in present]
