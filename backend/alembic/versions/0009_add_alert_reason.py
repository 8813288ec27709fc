"""An alert can carry the reason why it was raised."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.revisions.guards import missing

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    for column in missing(
        "alerts",
        sa.Column("reason", sa.Text()),
    ):
        op.add_column("alerts", column)


def downgrade() -> None:
    with op.batch_alter_table("alerts") as batch:
        batch.drop_column("reason")
