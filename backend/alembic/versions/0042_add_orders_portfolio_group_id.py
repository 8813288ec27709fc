"""An order can belong to a portfolio."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.revisions.guards import missing

revision = "0042"
down_revision = "0041"


def upgrade() -> None:
    for column in missing("orders", sa.Column("portfolio_group_id", sa.Integer())):
        with op.batch_alter_table("orders") as batch:
            batch.add_column(column)
            batch.create_foreign_key(
                "fk_orders_portfolio_group_id", "groups", ["portfolio_group_id"], ["id"], ondelete="SET NULL"
            )
    op.create_index("ix_orders_portfolio_group_id", "orders", ["portfolio_group_id"], if_not_exists=True)


def downgrade() -> None:
    op.drop_index("ix_orders_portfolio_group_id", "orders")
    with op.batch_alter_table("orders") as batch:
        batch.drop_constraint("fk_orders_portfolio_group_id", type_="foreignkey")
        batch.drop_column("portfolio_group_id")
