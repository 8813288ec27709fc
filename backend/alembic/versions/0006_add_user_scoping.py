"""Broker data, alerts and orders can belong to a user."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.revisions.guards import missing

revision = "0006"
down_revision = "0005"


TABLES = ("broker_connections", "broker_secrets", "alerts", "orders")


def upgrade() -> None:
    for table in TABLES:
        for column in missing(table, sa.Column("user_id", sa.Integer())):
            with op.batch_alter_table(table) as batch:
                batch.add_column(column)
                batch.create_foreign_key(
                    f"fk_{table}_user_id", "users", ["user_id"], ["id"], ondelete="CASCADE"
                )


def downgrade() -> None:
    for table in reversed(TABLES):
        with op.batch_alter_table(table) as batch:
            batch.drop_constraint(f"fk_{table}_user_id", type_="foreignkey")
            batch.drop_column("user_id")
