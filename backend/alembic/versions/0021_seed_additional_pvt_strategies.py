"""Four more built-in strategies that compare price with volume.

A strategy that already has one of the names is left as it is.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


STRATEGIES = (
    (
        "ST006-G PVT bearish distribution",
        "Price still over its average, but volume flows out: trim, or move the stop closer.",
        "PRICE(1d) > MA(50, 1d) AND PVT_SLOPE(20, 1d) < 0",
    ),
    (
        "ST007-G PVT exhaustion after rally",
        "A rally of a quarter in 60 days, RSI above 70, volume flowing out: sell, or stay out.",
        "PERF_PCT(60, 1d) > 25 AND RSI(14, 1d) > 70 AND PVT_SLOPE(20, 1d) < 0",
    ),
    (
        "ST008-G PVT-confirmed breakout",
        "Price over its average with strong volume behind it: buy, or add.",
        "PRICE(1d) > MA(50, 1d) AND PVT_SLOPE(20, 1d) > 5",
    ),
    (
        "ST009-G PVT oversold accumulation",
        "A large loss in 60 days, RSI low, volume no longer flowing out: buy against the crowd.",
        "PERF_PCT(60, 1d) < -20 AND RSI(14, 1d) < 35 AND PVT_SLOPE(20, 1d) >= 0",
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
