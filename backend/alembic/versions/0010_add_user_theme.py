"""A user can choose a theme."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db.revisions.guards import missing

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    for column in missing(
        "users",
        sa.Column("theme_id", sa.String(32)),
    ):
        op.add_column("users", column)


def downgrade() -> None:
    with op.batch_alter_table("users") as batch:
        batch.drop_column("theme_id")
