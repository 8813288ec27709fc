"""A rule keeps its parsed expression, its kind of target and when it was last evaluated."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("indicator_rules", sa.Column("expression_json", sa.Text()))
    op.add_column("indicator_rules", sa.Column("target_type", sa.String(16)))
    op.add_column("indicator_rules", sa.Column("target_id", sa.String(128)))
    op.add_column("indicator_rules", sa.Column("last_evaluated_at", sa.DateTime()))


def downgrade() -> None:
    with op.batch_alter_table("indicator_rules") as batch:
        batch.drop_column("last_evaluated_at")
        batch.drop_column("target_id")
        batch.drop_column("target_type")
        batch.drop_column("expression_json")
