"""A risk profile limits leverage."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0064"
down_revision = "0063"


def upgrade() -> None:
    op.add_column("risk_profiles", sa.Column("leverage_mode", sa.String(16)))
    op.add_column("risk_profiles", sa.Column("max_effective_leverage", sa.Float()))
    op.add_column("risk_profiles", sa.Column("max_margin_used_pct", sa.Float()))


def downgrade() -> None:
    with op.batch_alter_table("risk_profiles") as batch:
        batch.drop_column("max_margin_used_pct")
        batch.drop_column("max_effective_leverage")
        batch.drop_column("leverage_mode")
