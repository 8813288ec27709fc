"""A strategy trades live or on paper; paper trading has a polling interval."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.revisions.guards import missing

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    for column in missing(
        "strategies",
        sa.Column("execution_target", sa.String(16), nullable=False, server_default="LIVE"),
        sa.Column("paper_poll_interval_sec", sa.Integer()),
    ):
        op.add_column("strategies", column)


def downgrade() -> None:
    with op.batch_alter_table("strategies") as batch:
        batch.drop_column("paper_poll_interval_sec")
        batch.drop_column("execution_target")
