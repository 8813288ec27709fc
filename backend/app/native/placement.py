"""Where each table would lie if one primary were not enough: the keys of a cluster of shards, as data.

Nothing of the application reads this. A test holds it to the models, and a rehearsal builds the shards from it.
`obstacles` says what has to change before, `shard_schema` is the schema after that change.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
)


class Place(Enum):
    """What becomes of a table."""

    SPREAD = "spread"  # each row on one shard, by its key
    EVERYWHERE = "everywhere"  # a reference table: a copy on each shard
    FIRST = "first"  # an ordinary table on the first node, which no spread table refers to


@dataclass(frozen=True)
class Placement:
    """`key`: the column that chooses the shard. `over`: the foreign key column whose row has the key,
    if the table itself lacks the column today."""

    place: Place
    key: str = ""
    over: str = ""


def _spread(key: str, *tables: str) -> dict[str, Placement]:
    return {table: Placement(Place.SPREAD, key) for table in tables}


PLACEMENTS: Final[dict[str, Placement]] = {
    **_spread(
        "user_id",
        "alert_decision_logs",
        "alert_definitions",
        "alert_events",
        "alerts",
        "equity_snapshots",
        "execution_policy_state",
        "managed_risk_positions",
        "orders",
        "screener_runs",
    ),
    **_spread(
        "owner_id", "backtest_runs", "rebalance_runs", "strategy_deployment_jobs", "strategy_deployments"
    ),
    "analytics_trades": Placement(Place.SPREAD, "user_id", over="entry_order_id"),
    "order_jobs": Placement(Place.SPREAD, "user_id", over="order_id"),
    "rebalance_run_orders": Placement(Place.SPREAD, "owner_id", over="run_id"),
    "strategy_deployment_actions": Placement(Place.SPREAD, "owner_id", over="deployment_id"),
    "strategy_deployment_bar_cursors": Placement(Place.SPREAD, "owner_id", over="deployment_id"),
    "strategy_deployment_event_logs": Placement(Place.SPREAD, "owner_id", over="deployment_id"),
    "strategy_deployment_locks": Placement(Place.SPREAD, "owner_id", over="deployment_id"),
    "strategy_deployment_states": Placement(Place.SPREAD, "owner_id", over="deployment_id"),
    **_spread("symbol", "candles"),
    **_spread("id", "system_events"),
    **{
        table: Placement(Place.EVERYWHERE)
        for table in (
            "broker_connections",
            "broker_instruments",
            "broker_secrets",
            "custom_indicators",
            "drawdown_thresholds",
            "group_import_values",
            "group_imports",
            "group_members",
            "groups",
            "indicator_rules",
            "listings",
            "market_calendar",
            "market_instruments",
            "rebalance_policies",
            "rebalance_schedules",
            "risk_profiles",
            "risk_settings",
            "securities",
            "signal_strategies",
            "signal_strategy_versions",
            "strategies",
            "symbol_risk_categories",
            "tradingview_alert_payload_templates",
            "users",
        )
    },
    **{
        table: Placement(Place.FIRST)
        for table in (
            "holding_goal_import_presets",
            "holding_goal_reviews",
            "holding_goals",
            "position_snapshots",
            "positions",
            "risk_covariance_cache",
        )
    },
}

# Keys that hold a person's id: equal values lie on one shard, whatever the column is called.
PERSON: Final = frozenset({"user_id", "owner_id"})


def together(one: Placement, other: Placement) -> bool:
    """Whether rows of both with equal keys lie on one shard."""
    return one.key == other.key or {one.key, other.key} <= PERSON


def obstacles(metadata: MetaData) -> list[str]:
    """What the schema of today has that shards cannot keep, one line each, sorted.

    Raises KeyError for a table without a placement.
    """
    return sorted(line for table in metadata.tables.values() for line in _of_table(table))


def _of_table(table: Table) -> list[str]:
    own, found = PLACEMENTS[table.name], []
    spread = own.place is Place.SPREAD
    if own.over:
        found.append(f"{table.name}: lacks {own.key}, which {own.over} leads to")
    elif spread and table.c[own.key].nullable:
        found.append(f"{table.name}: {own.key} may be NULL")
    for columns in _unique(table) if spread else ():
        if own.key not in columns:
            found.append(f"{table.name}: unique ({', '.join(columns)}) lacks {own.key}")
    for key in table.foreign_key_constraints:
        other = PLACEMENTS[key.referred_table.name]
        arrow = f"{table.name}: {', '.join(key.column_keys)} refers to {key.referred_table.name}"
        if own.place is Place.EVERYWHERE and other.place is not Place.EVERYWHERE:
            found.append(f"{arrow}, which is not on each shard")
        elif spread and other.place is Place.FIRST:
            found.append(f"{arrow}, which is on the first node only")
        elif spread and other.place is Place.SPREAD:
            found.append(
                f"{arrow} without the person" if together(own, other) else f"{arrow}, on another shard"
            )
    return found


def _unique(table: Table) -> list[list[str]]:
    """The columns of each unique key but the primary key, whose `id` is widened everywhere."""
    keys = [key for key in table.constraints if isinstance(key, UniqueConstraint)]
    indexes = [index for index in table.indexes if index.unique]
    return [[column.name for column in key.columns] for key in (*keys, *indexes)]


def shard_schema(metadata: MetaData) -> MetaData:
    """The tables of one shard: spread tables carry their key, in each unique key and in each foreign key
    from one spread table to another."""
    shard = MetaData()
    for table in metadata.sorted_tables:
        own = PLACEMENTS[table.name]
        if own.place is Place.EVERYWHERE:
            table.to_metadata(shard)
        elif own.place is Place.SPREAD:
            _spread_table(table, own, shard)
    return shard


def _spread_table(table: Table, own: Placement, shard: MetaData) -> None:
    columns = [
        Column(
            column.name,
            BigInteger() if column.primary_key else column.type,
            nullable=column.nullable and column.name != own.key,
            autoincrement=False,
        )
        for column in table.columns
    ]
    if own.over:
        columns.append(Column(own.key, BigInteger(), nullable=False))
    made = Table(table.name, shard, *columns)
    made.append_constraint(PrimaryKeyConstraint(*dict.fromkeys((own.key, "id"))))
    for number, unique in enumerate(_unique(table)):
        name = f"uq_{table.name}_{number}"
        made.append_constraint(UniqueConstraint(*dict.fromkeys((own.key, *unique)), name=name))
    for check in table.constraints:
        if isinstance(check, CheckConstraint):
            made.append_constraint(CheckConstraint(str(check.sqltext), name=check.name))
    for key in table.foreign_key_constraints:
        target, other = key.referred_table.name, PLACEMENTS[key.referred_table.name]
        here, there = list(key.column_keys), [element.column.name for element in key.elements]
        if other.place is Place.SPREAD:
            here, there = [own.key, *here], [other.key, *there]
        made.append_constraint(ForeignKeyConstraint(here, [f"{target}.{column}" for column in there]))
    for index in table.indexes:
        if not index.unique:
            Index(f"{index.name}_s", *(made.c[column.name] for column in index.columns))
