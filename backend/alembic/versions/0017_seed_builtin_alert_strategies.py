"""Three built-in strategies for alerts.

A strategy that already has one of the names is left as it is.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


STRATEGIES = (
    (
        "ST001-G RSI overbought with trend filter",
        "RSI above 80 on daily bars: stretched, in a calm market over its 50-day average.",
        "(RSI(14, 1d) > 80) AND (PRICE(1d) > SMA(50, 1d)) AND (VOLATILITY(50, 1d) < 2.5)",
    ),
    (
        "ST002-G Bullish MA crossover",
        "The 20-day average rises through the 50-day average with the price over the 200-day average.",
        "(SMA(20, 1d) CROSS_ABOVE SMA(50, 1d)) AND (PRICE(1d) > SMA(200, 1d))",
    ),
    (
        "ST003-G Intraday pullback in daily uptrend",
        "A dip on 15-minute bars, RSI below 40, within an uptrend on daily bars.",
        "(PRICE(15m) < SMA(20, 15m)) AND (PRICE(1d) > SMA(50, 1d)) AND (RSI(14, 15m) < 40)",
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
