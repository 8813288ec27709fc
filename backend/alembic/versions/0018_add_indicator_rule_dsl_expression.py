"""A rule keeps the expression as the user typed it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.add_column("indicator_rules", sa.Column("dsl_expression", sa.Text()))


def downgrade() -> None:
    with op.batch_alter_table("indicator_rules") as batch:
        batch.drop_column("dsl_expression")
