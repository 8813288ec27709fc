"""The old rules go; alerts that came from them stay."""

from __future__ import annotations

from alembic import op

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    op.execute("UPDATE alerts SET rule_id = NULL WHERE rule_id IS NOT NULL")
    op.execute("DELETE FROM indicator_rules")


def downgrade() -> None:
    """The rules are gone for good."""
