"""Groups can be portfolios, whose members have a reference quantity and price."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.add_column("group_members", sa.Column("reference_qty", sa.Integer()))
    op.add_column("group_members", sa.Column("reference_price", sa.Float()))
    with op.batch_alter_table("groups") as batch:
        batch.drop_constraint("ck_groups_kind", type_="check")
        batch.create_check_constraint(
            "ck_groups_kind", "kind IN ('WATCHLIST', 'MODEL_PORTFOLIO', 'HOLDINGS_VIEW', 'PORTFOLIO')"
        )


def downgrade() -> None:
    with op.batch_alter_table("groups") as batch:
        batch.drop_constraint("ck_groups_kind", type_="check")
        batch.create_check_constraint(
            "ck_groups_kind", "kind IN ('WATCHLIST', 'MODEL_PORTFOLIO', 'HOLDINGS_VIEW')"
        )
    with op.batch_alter_table("group_members") as batch:
        batch.drop_column("reference_price")
        batch.drop_column("reference_qty")
