"""The constraints that the code already assumes, and the indexes that its queries use or never need.

Each says what a row looks like that stands against it, so that a report can be made before anything is changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Check:
    """A condition on every row of a table."""

    name: str
    table: str
    condition: str

    @property
    def against(self) -> str:
        """What holds for a row that breaks it."""
        return f"NOT ({self.condition})"


@dataclass(frozen=True)
class NotNull:
    """A column that always has a value."""

    table: str
    column: str

    @property
    def name(self) -> str:
        return f"{self.table}.{self.column}"

    @property
    def against(self) -> str:
        """What holds for a row that breaks it."""
        return f"{self.column} IS NULL"


@dataclass(frozen=True)
class OneWithout:
    """Of rows without an owner there is one for each value of the columns: a unique key alone takes NULLs for distinct."""

    name: str
    table: str
    columns: tuple[str, ...]
    missing: str

    @property
    def against(self) -> str:
        """What holds for a row that breaks it: an older one with the same values."""
        same = " AND ".join(f"o.{column} = {self.table}.{column}" for column in self.columns)
        older = f"SELECT 1 FROM {self.table} o WHERE o.{self.missing} IS NULL AND {same} AND o.id < {self.table}.id"
        return f"{self.missing} IS NULL AND EXISTS ({older})"

    @property
    def create(self) -> str:
        columns = ", ".join(self.columns)
        return f"CREATE UNIQUE INDEX CONCURRENTLY {self.name} ON {self.table} ({columns}) WHERE {self.missing} IS NULL"


@dataclass(frozen=True)
class Reference:
    """A foreign key that the models have and the chain has not."""

    name: str
    table: str
    column: str
    parent: str

    @property
    def against(self) -> str:
        """What holds for a row that breaks it."""
        return f"{self.column} IS NOT NULL AND NOT EXISTS (SELECT 1 FROM {self.parent} p WHERE p.id = {self.column})"


@dataclass(frozen=True)
class Index:
    """An index of the named columns."""

    name: str
    table: str
    columns: tuple[str, ...]

    @property
    def create(self) -> str:
        return f"CREATE INDEX CONCURRENTLY {self.name} ON {self.table} ({', '.join(self.columns)})"


CHECKS: Final = (
    Check("ck_strategies_execution_target", "strategies", "execution_target IN ('LIVE', 'PAPER')"),
    Check("ck_risk_profiles_product", "risk_profiles", "product IN ('CNC', 'MIS')"),
    Check("ck_risk_profiles_drawdown_mode", "risk_profiles", "drawdown_mode IN ('SETTINGS_BY_CATEGORY')"),
    Check("ck_drawdown_thresholds_product", "drawdown_thresholds", "product IN ('CNC', 'MIS')"),
    Check("ck_drawdown_thresholds_category", "drawdown_thresholds", "category IN ('LC', 'MC', 'SC', 'ETF')"),
    Check(
        "ck_symbol_risk_categories_category",
        "symbol_risk_categories",
        "risk_category IN ('LC', 'MC', 'SC', 'ETF')",
    ),
)
NOT_NULLS: Final = (
    NotNull("managed_risk_positions", "created_at"),
    NotNull("managed_risk_positions", "updated_at"),
)
REFERENCES: Final = (Reference("fk_strategies_owner_id", "strategies", "owner_id", "users"),)
ONLY_ONES: Final = (
    OneWithout("ux_broker_secrets_global", "broker_secrets", ("broker_name", "key"), "user_id"),
    OneWithout("ux_risk_settings_global", "risk_settings", ("scope",), "strategy_id"),
    OneWithout("ux_drawdown_thresholds_global", "drawdown_thresholds", ("product", "category"), "user_id"),
    OneWithout(
        "ux_symbol_risk_categories_global",
        "symbol_risk_categories",
        ("broker_name", "symbol", "exchange"),
        "user_id",
    ),
)
# The pages of the newest alerts and events, and the walk of retention's counts, go by time. A person with few alerts
# would have everybody's walked over: theirs are found by the person.
NEW_INDEXES: Final = (
    Index("ix_alerts_received_at", "alerts", ("received_at", "id")),
    Index("ix_alerts_user_time", "alerts", ("user_id", "received_at", "id")),
    Index("ix_system_events_created_at", "system_events", ("created_at", "id")),
)
# Lists that a person asks for. Rare levels and categories would have the walk by time go through all events.
LIST_INDEXES: Final = (
    Index("ix_orders_user_time", "orders", ("user_id", "created_at", "id")),
    Index("ix_system_events_level_time", "system_events", ("level", "created_at", "id")),
    Index("ix_system_events_category_time", "system_events", ("category", "created_at", "id")),
)
# Each has the columns of a unique key in the same order, so every query that could use it uses that key.
DUPLICATES: Final = (
    Index("ix_candles_symbol_exchange_tf_ts", "candles", ("symbol", "exchange", "timeframe", "ts")),
    Index("ix_group_imports_group_id", "group_imports", ("group_id",)),
    Index("ix_securities_isin", "securities", ("isin",)),
    Index("ix_listings_exchange_symbol", "listings", ("exchange", "symbol")),
    Index("ix_signal_strategy_versions_strategy", "signal_strategy_versions", ("strategy_id", "version")),
    Index("ix_rebalance_schedules_policy_id", "rebalance_schedules", ("policy_id",)),
    Index("ix_strategy_deployment_states_deployment_id", "strategy_deployment_states", ("deployment_id",)),
    Index("ix_strategy_deployment_locks_deployment_id", "strategy_deployment_locks", ("deployment_id",)),
    Index("ix_equity_snapshots_user_date", "equity_snapshots", ("user_id", "as_of_date")),
    Index(
        "ix_symbol_risk_categories_user_symbol",
        "symbol_risk_categories",
        ("user_id", "broker_name", "symbol", "exchange"),
    ),
    Index(
        "ix_risk_cov_cache_lookup",
        "risk_covariance_cache",
        ("universe_hash", "timeframe", "window_days", "as_of_ts"),
    ),
)

# A text as a document, NULL where it is none. Unlike a plain cast it fails for no row, so it can stand in an index.
# jsonb holds no NUL; a text with an escaped one is a document all the same, without it. One that is nested deeper than
# the server's stack allows is none.
DOCUMENT: Final = r"""
CREATE OR REPLACE FUNCTION native_document(given text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  RETURN given::jsonb;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
  BEGIN
    RETURN regexp_replace(given, '(?<!\\)((?:\\\\)*)\\u0000', '\1', 'g')::jsonb;
  EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN NULL;
  END;
END
$$
"""
# Cut beyond the digits of an id: an index refuses a row with a text of some thousand characters.
EVENTS_OF_ORDER: Final = Index(
    "ix_system_events_order_id", "system_events", ("left(native_document(details) ->> 'order_id', 20)",)
)
# Columns that the code reads as documents and never shows as they are. What an answer repeats has no check.
DOCUMENTS: Final = (
    Check(
        "ck_orders_risk_spec_document",
        "orders",
        "native_document(risk_spec_json) IS NOT NULL OR risk_spec_json IS NULL",
    ),
    Check(
        "ck_managed_risk_positions_risk_spec_document",
        "managed_risk_positions",
        "native_document(risk_spec_json) IS NOT NULL",
    ),
    Check(
        "ck_strategy_deployments_config_document",
        "strategy_deployments",
        "native_document(config_json) IS NOT NULL",
    ),
)
