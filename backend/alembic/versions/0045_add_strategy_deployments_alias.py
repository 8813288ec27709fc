"""Another name of 0045, which later revisions refer to; nothing happens here."""

from __future__ import annotations

revision = "0045_add_strategy_deployments"
down_revision = "0045"


def upgrade() -> None:
    """Nothing to do."""


def downgrade() -> None:
    """Nothing to do."""
