"""Which account at the broker a session and an order belong to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.revisions.guards import missing

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    for column in missing(
        "broker_connections",
        sa.Column("broker_user_id", sa.String(64)),
    ):
        op.add_column("broker_connections", column)
    for column in missing(
        "orders",
        sa.Column("broker_account_id", sa.String(64)),
    ):
        op.add_column("orders", column)


def downgrade() -> None:
    with op.batch_alter_table("orders") as batch:
        batch.drop_column("broker_account_id")
    with op.batch_alter_table("broker_connections") as batch:
        batch.drop_column("broker_user_id")
