"""Five templates of signal strategies, each with its first version.

A global strategy that already has the name of a template is kept, and gets version 1 if it has none.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0039"
down_revision = "0038"


TEMPLATES: tuple[dict[str, Any], ...] = (
    {
        "name": "T-BULL SMA crossover + RSI",
        "description": "For rising markets: fast average over slow, confirmed by RSI. Swing entries.",
        "tags": ["template", "trend", "momentum", "sma", "rsi"],
        "regimes": ["BULL", "SWING_TRADING"],
        "inputs": [
            ("FAST", "number", 20),
            ("SLOW", "number", 50),
            ("RSI_LEN", "number", 14),
            ("RSI_MIN", "number", 50),
            ("TF", "timeframe", "1d"),
        ],
        "outputs": [
            {
                "name": "signal",
                "kind": "SIGNAL",
                "dsl": "SMA(close, FAST, TF) > SMA(close, SLOW, TF) AND RSI(close, RSI_LEN, TF) > RSI_MIN",
            },
            {"name": "fast_sma", "kind": "OVERLAY", "dsl": "SMA(close, FAST, TF)", "plot": "price"},
            {"name": "slow_sma", "kind": "OVERLAY", "dsl": "SMA(close, SLOW, TF)", "plot": "price"},
        ],
    },
    {
        "name": "T-BEAR SMA breakdown + RSI",
        "description": "For falling markets: fast average under slow, RSI weak. To stay out or find shorts.",
        "tags": ["template", "trend", "bear", "sma", "rsi"],
        "regimes": ["BEAR", "SWING_TRADING"],
        "inputs": [
            ("FAST", "number", 20),
            ("SLOW", "number", 50),
            ("RSI_LEN", "number", 14),
            ("RSI_MAX", "number", 50),
            ("TF", "timeframe", "1d"),
        ],
        "outputs": [
            {
                "name": "signal",
                "kind": "SIGNAL",
                "dsl": "SMA(close, FAST, TF) < SMA(close, SLOW, TF) AND RSI(close, RSI_LEN, TF) < RSI_MAX",
            },
            {"name": "fast_sma", "kind": "OVERLAY", "dsl": "SMA(close, FAST, TF)", "plot": "price"},
            {"name": "slow_sma", "kind": "OVERLAY", "dsl": "SMA(close, SLOW, TF)", "plot": "price"},
        ],
    },
    {
        "name": "T-SIDEWAYS RSI mean reversion",
        "description": "For markets without direction: buy when RSI is low, sell when it is high.",
        "tags": ["template", "sideways", "mean-reversion", "rsi"],
        "regimes": ["SIDEWAYS", "SWING_TRADING"],
        "inputs": [
            ("RSI_LEN", "number", 14),
            ("RSI_LO", "number", 30),
            ("RSI_HI", "number", 70),
            ("TF", "timeframe", "1d"),
        ],
        "outputs": [
            {"name": "buy", "kind": "SIGNAL", "dsl": "RSI(close, RSI_LEN, TF) < RSI_LO"},
            {"name": "sell", "kind": "SIGNAL", "dsl": "RSI(close, RSI_LEN, TF) > RSI_HI"},
            {"name": "rsi", "kind": "OVERLAY", "dsl": "RSI(close, RSI_LEN, TF)", "plot": "separate"},
        ],
    },
    {
        "name": "T-DAY VWAP reclaim",
        "description": "Within the day: the price is over VWAP.",
        "tags": ["template", "day-trading", "vwap", "intraday"],
        "regimes": ["DAY_TRADING"],
        "inputs": [("TF", "timeframe", "5m")],
        "outputs": [
            {"name": "signal", "kind": "SIGNAL", "dsl": "close > VWAP(hlc3, volume, TF)"},
            {"name": "vwap", "kind": "OVERLAY", "dsl": "VWAP(hlc3, volume, TF)", "plot": "price"},
        ],
    },
    {
        "name": "T-SWING EMA trend + returns",
        "description": "For swings: the price is over its EMA and the last bar returned more than a minimum.",
        "tags": ["template", "swing", "ema", "momentum"],
        "regimes": ["SWING_TRADING"],
        "inputs": [("EMA_LEN", "number", 20), ("TF", "timeframe", "1d"), ("RET_MIN", "number", 0.0)],
        "outputs": [
            {
                "name": "signal",
                "kind": "SIGNAL",
                "dsl": "close > EMA(close, EMA_LEN, TF) AND RET(close, TF) > RET_MIN",
            },
            {"name": "ema", "kind": "OVERLAY", "dsl": "EMA(close, EMA_LEN, TF)", "plot": "price"},
        ],
    },
)

strategies = sa.table(
    "signal_strategies",
    sa.column("id", sa.Integer),
    sa.column("scope", sa.String),
    sa.column("owner_id", sa.Integer),
    sa.column("name", sa.String),
    sa.column("description", sa.Text),
    sa.column("tags_json", sa.Text),
    sa.column("regimes_json", sa.Text),
    sa.column("latest_version", sa.Integer),
    sa.column("created_at", sa.DateTime),
    sa.column("updated_at", sa.DateTime),
)
versions = sa.table(
    "signal_strategy_versions",
    sa.column("id", sa.Integer),
    sa.column("strategy_id", sa.Integer),
    sa.column("version", sa.Integer),
    sa.column("inputs_json", sa.Text),
    sa.column("variables_json", sa.Text),
    sa.column("outputs_json", sa.Text),
    sa.column("compatibility_json", sa.Text),
    sa.column("enabled", sa.Boolean),
    sa.column("created_at", sa.DateTime),
)


def upgrade() -> None:
    bind = op.get_bind()
    now = datetime.now(UTC).replace(tzinfo=None)
    for template in TEMPLATES:
        strategy_id = bind.scalar(
            sa.select(strategies.c.id)
            .where(
                strategies.c.scope == "GLOBAL",
                strategies.c.owner_id.is_(None),
                strategies.c.name == template["name"],
            )
            .order_by(strategies.c.id)
        )
        if strategy_id is None:
            strategy_id = insert_strategy(bind, template, now)
        first = sa.select(versions.c.id).where(versions.c.strategy_id == strategy_id, versions.c.version == 1)
        if bind.scalar(first) is None:
            insert_version(bind, strategy_id, template, now)


def insert_strategy(bind: sa.Connection, template: dict[str, Any], now: datetime) -> int:
    """Insert the strategy of a template and return its id."""
    values = {
        "scope": "GLOBAL",
        "name": template["name"],
        "description": template["description"],
        "tags_json": compact(template["tags"]),
        "regimes_json": compact(template["regimes"]),
        "latest_version": 1,
        "created_at": now,
        "updated_at": now,
    }
    return bind.execute(strategies.insert().values(values).returning(strategies.c.id)).scalar_one()


def insert_version(bind: sa.Connection, strategy_id: int, template: dict[str, Any], now: datetime) -> None:
    """Insert version 1 of a template."""
    inputs = [{"name": name, "type": kind, "default": value} for name, kind, value in template["inputs"]]
    values = {
        "strategy_id": strategy_id,
        "version": 1,
        "inputs_json": compact(inputs),
        "variables_json": "[]",
        "outputs_json": compact(template["outputs"]),
        "compatibility_json": compact({"requires_holdings_metrics": False}),
        "enabled": True,
        "created_at": now,
    }
    bind.execute(versions.insert().values(values))


def compact(value: object) -> str:
    """JSON text without spaces, as the application writes it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def downgrade() -> None:
    names = [template["name"] for template in TEMPLATES]
    seeded = sa.select(strategies.c.id).where(
        strategies.c.scope == "GLOBAL", strategies.c.owner_id.is_(None), strategies.c.name.in_(names)
    )
    op.execute(versions.delete().where(versions.c.strategy_id.in_(seeded)))
    op.execute(strategies.delete().where(strategies.c.id.in_(seeded)))
