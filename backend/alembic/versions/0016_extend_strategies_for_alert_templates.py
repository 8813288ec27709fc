"""Strategies as templates for alerts: owner, scope, expressions, a mark for built-in ones."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.add_column("strategies", sa.Column("owner_id", sa.Integer()))
    op.add_column("strategies", sa.Column("scope", sa.String(16)))
    op.add_column("strategies", sa.Column("dsl_expression", sa.Text()))
    op.add_column("strategies", sa.Column("expression_json", sa.Text()))
    op.add_column(
        "strategies", sa.Column("is_builtin", sa.Boolean(), nullable=False, server_default=sa.false())
    )


def downgrade() -> None:
    with op.batch_alter_table("strategies") as batch:
        batch.drop_column("is_builtin")
        batch.drop_column("expression_json")
        batch.drop_column("dsl_expression")
        batch.drop_column("scope")
        batch.drop_column("owner_id")
