"""Members of a basket can be given an amount or a quantity."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0058"
down_revision = "0057"


def upgrade() -> None:
    op.add_column("group_members", sa.Column("allocation_amount", sa.Float()))
    op.add_column("group_members", sa.Column("allocation_qty", sa.Integer()))


def downgrade() -> None:
    with op.batch_alter_table("group_members") as batch:
        batch.drop_column("allocation_qty")
        batch.drop_column("allocation_amount")
