"""What a chain that only ever ran on SQLite looks like."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "instruments",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("symbol", sa.String(16), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False, server_default="1"),
        sa.Column("lots", sa.Integer()),
        sa.Column("seen_at", sa.DateTime(timezone=True)),
        sa.Column("made_at", sa.DateTime(), server_default=sa.text("CURRENT_TIMESTAMP")),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.create_foreign_key("fk_rule", "instruments", "rules", ["rule_id"], ["id"])
