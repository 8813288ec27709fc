"""Another name of 0044, which later revisions refer to; nothing happens here."""

from __future__ import annotations

revision = "0044_repair_backtest_runs"
down_revision = "0044"


def upgrade() -> None:
    """Nothing to do."""


def downgrade() -> None:
    """Nothing to do."""
