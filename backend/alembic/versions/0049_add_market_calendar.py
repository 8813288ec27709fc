"""Days on which an exchange does not trade as usual."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0049"
down_revision = "0048"


def upgrade() -> None:
    op.create_table(
        "market_calendar",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("exchange", sa.String(16), nullable=False),
        sa.Column("session_type", sa.String(32), nullable=False, server_default="NORMAL"),
        sa.Column("open_time", sa.Time()),
        sa.Column("close_time", sa.Time()),
        sa.Column("notes", sa.Text()),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.UniqueConstraint("date", "exchange", name="ux_market_calendar_date_exchange"),
        sa.CheckConstraint(
            "session_type IN ('NORMAL','CLOSED','SETTLEMENT_ONLY','HALF_DAY','SPECIAL')",
            name="ck_market_calendar_session_type",
        ),
        if_not_exists=True,
    )
    op.create_index("ix_market_calendar_date", "market_calendar", ["date"], if_not_exists=True)
    op.create_index(
        "ix_market_calendar_exchange_date", "market_calendar", ["exchange", "date"], if_not_exists=True
    )


def downgrade() -> None:
    op.drop_table("market_calendar")
