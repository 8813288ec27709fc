"""Saved templates of the TradingView message."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0062"
down_revision = "0061"


def upgrade() -> None:
    op.create_table(
        "tradingview_alert_payload_templates",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("config_json", sa.Text(), nullable=False, server_default="{}"),
        sa.Column("created_at", sa.DateTime(), nullable=False, server_default=sa.text("CURRENT_TIMESTAMP")),
        sa.Column("updated_at", sa.DateTime(), nullable=False, server_default=sa.text("CURRENT_TIMESTAMP")),
    )
    op.create_index(
        "ix_tradingview_alert_payload_templates_updated_at",
        "tradingview_alert_payload_templates",
        ["updated_at"],
    )
    op.create_index(
        "ux_tradingview_alert_payload_templates_name",
        "tradingview_alert_payload_templates",
        ["name"],
        unique=True,
    )


def downgrade() -> None:
    op.drop_table("tradingview_alert_payload_templates")
