"""The execution policy remembers where its interval came from and which order is under way."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0055"
down_revision = "0054"


def upgrade() -> None:
    op.add_column(
        "execution_policy_state",
        sa.Column("interval_source", sa.String(32), nullable=False, server_default="persisted"),
    )
    op.add_column(
        "execution_policy_state",
        sa.Column("default_interval_logged", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.add_column("execution_policy_state", sa.Column("inflight_order_id", sa.Integer()))
    op.add_column("execution_policy_state", sa.Column("inflight_started_at", sa.DateTime()))
    op.add_column("execution_policy_state", sa.Column("inflight_expires_at", sa.DateTime()))


def downgrade() -> None:
    with op.batch_alter_table("execution_policy_state") as batch:
        batch.drop_column("inflight_expires_at")
        batch.drop_column("inflight_started_at")
        batch.drop_column("inflight_order_id")
        batch.drop_column("default_interval_logged")
        batch.drop_column("interval_source")
