"""Instruments and their price bars."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "candles",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("symbol", sa.String(128), nullable=False),
        sa.Column("exchange", sa.String(32), nullable=False),
        sa.Column("timeframe", sa.String(8), nullable=False),
        sa.Column("ts", sa.DateTime(), nullable=False),
        sa.Column("open", sa.Float(), nullable=False),
        sa.Column("high", sa.Float(), nullable=False),
        sa.Column("low", sa.Float(), nullable=False),
        sa.Column("close", sa.Float(), nullable=False),
        sa.Column("volume", sa.Float(), nullable=False, server_default="0"),
        sa.UniqueConstraint("symbol", "exchange", "timeframe", "ts", name="ux_candles_symbol_exchange_tf_ts"),
    )
    op.create_index("ix_candles_symbol_exchange_tf_ts", "candles", ["symbol", "exchange", "timeframe", "ts"])
    op.create_table(
        "market_instruments",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("symbol", sa.String(128), nullable=False),
        sa.Column("exchange", sa.String(32), nullable=False),
        sa.Column("instrument_token", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255)),
        sa.Column("active", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.UniqueConstraint("symbol", "exchange", name="ux_market_instruments_symbol_exchange"),
    )


def downgrade() -> None:
    op.drop_table("market_instruments")
    op.drop_table("candles")
