"""An order is sent to the broker or traded on paper."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    op.add_column(
        "orders", sa.Column("execution_target", sa.String(16), nullable=False, server_default="LIVE")
    )


def downgrade() -> None:
    with op.batch_alter_table("orders") as batch:
        batch.drop_column("execution_target")
