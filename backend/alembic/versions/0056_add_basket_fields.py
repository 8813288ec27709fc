"""Baskets: funds, the way of allocating them, prices frozen at a moment."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0056"
down_revision = "0055"


def upgrade() -> None:
    op.add_column("group_members", sa.Column("frozen_price", sa.Float()))
    op.add_column(
        "group_members", sa.Column("weight_locked", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("groups", sa.Column("funds", sa.Float()))
    op.add_column("groups", sa.Column("allocation_mode", sa.String(32)))
    op.add_column("groups", sa.Column("frozen_at", sa.DateTime()))


def downgrade() -> None:
    with op.batch_alter_table("groups") as batch:
        batch.drop_column("frozen_at")
        batch.drop_column("allocation_mode")
        batch.drop_column("funds")
    with op.batch_alter_table("group_members") as batch:
        batch.drop_column("weight_locked")
        batch.drop_column("frozen_price")
