"""Orders can wait for a trigger, as a price or as a percentage."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("orders", sa.Column("trigger_price", sa.Float()))
    op.add_column("orders", sa.Column("trigger_percent", sa.Float()))


def downgrade() -> None:
    with op.batch_alter_table("orders") as batch:
        batch.drop_column("trigger_percent")
        batch.drop_column("trigger_price")
