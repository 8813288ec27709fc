"""Boolean defaults as 0 and 1, in every spelling."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "t",
        sa.Column("a", sa.Boolean(), server_default="0"),  # expect: boolean-default
        sa.Column("b", sa.Boolean, server_default="1", nullable=False),  # expect: boolean-default
        sa.Column("c", sa.Boolean(), server_default=sa.text("0")),  # expect: boolean-default
        sa.Column("d", sa.Boolean(), server_default=sa.false()),
        sa.Column("e", sa.BigInteger(), server_default="0"),
        sa.Column("f", sa.Boolean(), default=False),
    )
    op.alter_column("t", "f", existing_type=sa.Boolean(), server_default="1")  # expect: boolean-default
    op.execute("ALTER TABLE t ADD COLUMN g BOOLEAN NOT NULL DEFAULT 0")  # expect: boolean-default
    op.execute("ALTER TABLE t ADD COLUMN h BOOLEAN NOT NULL DEFAULT false")
    op.execute("ALTER TABLE t ADD COLUMN i INTEGER NOT NULL DEFAULT 0")
