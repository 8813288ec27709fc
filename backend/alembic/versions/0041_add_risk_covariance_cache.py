"""Computed covariance matrices are kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0041"
down_revision = "0040"


def upgrade() -> None:
    op.create_table(
        "risk_covariance_cache",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("universe_hash", sa.String(64), nullable=False),
        sa.Column("timeframe", sa.String(8), nullable=False),
        sa.Column("window_days", sa.Integer(), nullable=False),
        sa.Column("as_of_ts", sa.DateTime(), nullable=False),
        sa.Column("symbols_json", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("cov_json", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("vol_json", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("corr_json", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("observations", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.UniqueConstraint(
            "universe_hash", "timeframe", "window_days", "as_of_ts", name="ux_risk_cov_cache_key"
        ),
        if_not_exists=True,
    )
    op.create_index(
        "ix_risk_cov_cache_lookup",
        "risk_covariance_cache",
        ["universe_hash", "timeframe", "window_days", "as_of_ts"],
        if_not_exists=True,
    )


def downgrade() -> None:
    op.drop_table("risk_covariance_cache")
