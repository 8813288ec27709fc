"""An order names its broker, and its id there; ids at Zerodha are taken over."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"


def upgrade() -> None:
    op.drop_index("ix_orders_zerodha_order_id", "orders")
    op.add_column("orders", sa.Column("broker_name", sa.String(32), nullable=False, server_default="zerodha"))
    op.add_column("orders", sa.Column("broker_order_id", sa.String(64)))
    op.execute(
        "UPDATE orders SET broker_order_id = zerodha_order_id"
        " WHERE broker_order_id IS NULL AND zerodha_order_id IS NOT NULL"
    )
    op.create_index("ix_orders_broker_name_order_id", "orders", ["broker_name", "broker_order_id"])


def downgrade() -> None:
    op.drop_index("ix_orders_broker_name_order_id", "orders")
    with op.batch_alter_table("orders") as batch:
        batch.drop_column("broker_order_id")
        batch.drop_column("broker_name")
    op.create_index("ix_orders_zerodha_order_id", "orders", ["zerodha_order_id"])
