"""A strategy can be withheld from the choices for a new alert."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.add_column(
        "strategies", sa.Column("available_for_alert", sa.Boolean(), nullable=False, server_default=sa.true())
    )


def downgrade() -> None:
    with op.batch_alter_table("strategies") as batch:
        batch.drop_column("available_for_alert")
