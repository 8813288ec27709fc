"""A deployment keeps a summary of its exposure."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.revisions.guards import missing

revision = "0051"
down_revision = "0050"


def upgrade() -> None:
    for column in missing(
        "strategy_deployment_states",
        sa.Column("exposure_json", sa.Text()),
    ):
        op.add_column("strategy_deployment_states", column)


def downgrade() -> None:
    with op.batch_alter_table("strategy_deployment_states") as batch:
        batch.drop_column("exposure_json")
