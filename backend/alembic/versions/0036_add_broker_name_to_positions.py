"""Positions and their snapshots are kept apart by broker."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"


def upgrade() -> None:
    op.drop_index("ix_position_snapshots_date_symbol", "position_snapshots")
    op.drop_index("ix_position_snapshots_symbol_date", "position_snapshots")
    with op.batch_alter_table("position_snapshots") as batch:
        batch.add_column(sa.Column("broker_name", sa.String(32), nullable=False, server_default="zerodha"))
        batch.drop_constraint("ux_position_snapshots_date_symbol_exchange_product", type_="unique")
        batch.create_unique_constraint(
            "ux_position_snapshots_broker_date_symbol_exchange_product",
            ["broker_name", "as_of_date", "symbol", "exchange", "product"],
        )
    op.create_index(
        "ix_position_snapshots_broker_date_symbol",
        "position_snapshots",
        ["broker_name", "as_of_date", "symbol"],
    )
    op.create_index(
        "ix_position_snapshots_broker_symbol_date",
        "position_snapshots",
        ["broker_name", "symbol", "as_of_date"],
    )
    with op.batch_alter_table("positions") as batch:
        batch.add_column(sa.Column("broker_name", sa.String(32), nullable=False, server_default="zerodha"))
        batch.drop_constraint("ux_positions_symbol_exchange_product", type_="unique")
        batch.create_unique_constraint(
            "ux_positions_broker_symbol_exchange_product", ["broker_name", "symbol", "exchange", "product"]
        )
    op.create_index("ix_positions_broker_symbol", "positions", ["broker_name", "symbol"])


def downgrade() -> None:
    op.drop_index("ix_positions_broker_symbol", "positions")
    with op.batch_alter_table("positions") as batch:
        batch.drop_constraint("ux_positions_broker_symbol_exchange_product", type_="unique")
        batch.drop_column("broker_name")
        batch.create_unique_constraint(
            "ux_positions_symbol_exchange_product", ["symbol", "exchange", "product"]
        )
    op.drop_index("ix_position_snapshots_broker_symbol_date", "position_snapshots")
    op.drop_index("ix_position_snapshots_broker_date_symbol", "position_snapshots")
    with op.batch_alter_table("position_snapshots") as batch:
        batch.drop_constraint("ux_position_snapshots_broker_date_symbol_exchange_product", type_="unique")
        batch.drop_column("broker_name")
        batch.create_unique_constraint(
            "ux_position_snapshots_date_symbol_exchange_product",
            ["as_of_date", "symbol", "exchange", "product"],
        )
    op.create_index("ix_position_snapshots_date_symbol", "position_snapshots", ["as_of_date", "symbol"])
    op.create_index("ix_position_snapshots_symbol_date", "position_snapshots", ["symbol", "as_of_date"])
