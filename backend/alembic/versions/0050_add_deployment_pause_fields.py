"""When and why a deployment was paused, and when it went on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.revisions.guards import missing

revision = "0050"
down_revision = "0049"


def upgrade() -> None:
    for column in missing(
        "strategy_deployment_states",
        sa.Column("paused_at", sa.DateTime()),
        sa.Column("resumed_at", sa.DateTime()),
        sa.Column("pause_reason", sa.String(255)),
    ):
        op.add_column("strategy_deployment_states", column)


def downgrade() -> None:
    with op.batch_alter_table("strategy_deployment_states") as batch:
        batch.drop_column("pause_reason")
        batch.drop_column("resumed_at")
        batch.drop_column("paused_at")
