"""Files imported into a group, with their values."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    op.create_table(
        "group_imports",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("group_id", sa.Integer(), sa.ForeignKey("groups.id", ondelete="CASCADE"), nullable=False),
        sa.Column("source", sa.String(32), nullable=False, server_default="TRADINGVIEW"),
        sa.Column("original_filename", sa.String(255)),
        sa.Column("file_hash", sa.String(64)),
        sa.Column("schema_json", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("symbol_mapping_json", sa.Text(), nullable=False, server_default="{}"),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.UniqueConstraint("group_id", name="ux_group_imports_group_id"),
    )
    op.create_index("ix_group_imports_created_at", "group_imports", ["created_at"])
    op.create_index("ix_group_imports_group_id", "group_imports", ["group_id"])
    op.create_table(
        "group_import_values",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column(
            "import_id", sa.Integer(), sa.ForeignKey("group_imports.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("symbol", sa.String(128), nullable=False),
        sa.Column("exchange", sa.String(32), nullable=False, server_default="NSE"),
        sa.Column("values_json", sa.Text(), nullable=False, server_default="{}"),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.UniqueConstraint(
            "import_id", "symbol", "exchange", name="ux_group_import_values_import_symbol_exchange"
        ),
    )
    op.create_index("ix_group_import_values_import_id", "group_import_values", ["import_id"])
    op.create_index("ix_group_import_values_symbol_exchange", "group_import_values", ["symbol", "exchange"])


def downgrade() -> None:
    op.drop_table("group_import_values")
    op.drop_table("group_imports")
