"""Orders that this application watches itself until their trigger is reached."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0037"
down_revision = "0036"


def upgrade() -> None:
    op.add_column(
        "orders", sa.Column("synthetic_gtt", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("orders", sa.Column("trigger_operator", sa.String(2)))
    op.add_column("orders", sa.Column("armed_at", sa.DateTime()))
    op.add_column("orders", sa.Column("last_checked_at", sa.DateTime()))
    op.add_column("orders", sa.Column("last_seen_price", sa.Float()))
    op.add_column("orders", sa.Column("triggered_at", sa.DateTime()))
    op.create_index("ix_orders_synthetic_status", "orders", ["synthetic_gtt", "status"])


def downgrade() -> None:
    op.drop_index("ix_orders_synthetic_status", "orders")
    with op.batch_alter_table("orders") as batch:
        batch.drop_column("triggered_at")
        batch.drop_column("last_seen_price")
        batch.drop_column("last_checked_at")
        batch.drop_column("armed_at")
        batch.drop_column("trigger_operator")
        batch.drop_column("synthetic_gtt")
