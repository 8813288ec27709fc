"""Times of alerts that were written in Indian time become UTC: five and a half hours earlier.

Creation times and bar times were right and stay. On SQLite a text that is no ISO date-time stays as well.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from alembic import op

revision = "0053"
down_revision = "0052"


COLUMNS = {
    "alert_events": ("triggered_at",),
    "alert_definitions": ("last_evaluated_at", "last_triggered_at", "expires_at"),
    "indicator_rules": ("last_evaluated_at", "last_triggered_at", "expires_at"),
}
OFFSET_MINUTES = 330


def upgrade() -> None:
    shift(-OFFSET_MINUTES)


def downgrade() -> None:
    shift(OFFSET_MINUTES)


def shift(minutes: int) -> None:
    """Move the listed columns, as far as they exist, by `minutes`."""
    bind = op.get_bind()
    sqlite = bind.dialect.name == "sqlite"  # st-lint: allow dialect-branch - one shift, worded for each
    if sqlite:
        bind.connection.driver_connection.create_function("shifted", 2, shifted, deterministic=True)
    for table, columns in COLUMNS.items():
        for column in columns:
            if not exists(bind, table, column):
                continue
            moved = f"shifted({column}, {minutes})" if sqlite else f"{column} + interval '{minutes} minutes'"
            op.execute(f"UPDATE {table} SET {column} = {moved} WHERE {column} IS NOT NULL")


def exists(bind: sa.Connection, table: str, column: str) -> bool:
    """Whether the table is there with that column."""
    inspector = sa.inspect(bind)
    return inspector.has_table(table) and column in {c["name"] for c in inspector.get_columns(table)}


def shifted(value: object, minutes: int) -> object:
    """A stored SQLite value moved by `minutes`; what is no date-time comes back as it is."""
    try:
        moment = datetime.fromisoformat(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return value
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return str(moment + timedelta(minutes=minutes))
