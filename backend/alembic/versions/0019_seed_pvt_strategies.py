"""Two built-in strategies that compare price with volume.

A strategy that already has one of the names is left as it is.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


STRATEGIES = (
    (
        "ST004-G PVT bullish correction",
        "Price down by more than a tenth in 20 days, yet volume flows in: a correction to hold or buy.",
        "PERF_PCT(20, 1d) < -10 AND PVT_SLOPE(20, 1d) > 0",
    ),
    (
        "ST005-G PVT healthy uptrend",
        "Uptrend carried by volume: hold, or add on a weak day.",
        "PRICE(1d) > MA(50, 1d) AND PVT_SLOPE(20, 1d) > 0",
    ),
)

strategies = sa.table(
    "strategies",
    sa.column("name", sa.String),
    sa.column("description", sa.Text),
    sa.column("scope", sa.String),
    sa.column("dsl_expression", sa.Text),
    sa.column("is_builtin", sa.Boolean),
)


def upgrade() -> None:
    taken = set(op.get_bind().scalars(sa.select(strategies.c.name)))
    op.bulk_insert(
        strategies,
        [
            {
                "name": name,
                "description": description,
                "scope": "GLOBAL",
                "dsl_expression": expression,
                "is_builtin": True,
            }
            for name, description, expression in STRATEGIES
            if name not in taken
        ],
    )


def downgrade() -> None:
    names = [name for name, _, _ in STRATEGIES]
    op.execute(
        strategies.delete().where(strategies.c.name.in_(names), strategies.c.is_builtin.is_(sa.true()))
    )
