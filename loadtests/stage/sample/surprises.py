"""What makes the made database hard to move, with exact counts: the one place that the maker and the tests read.

A live application wrote data like this for years on SQLite, which minds neither lengths nor foreign keys.
"""

from __future__ import annotations

from dataclasses import dataclass

# How many rows each table holds, the rows that the chain seeds included.
ROWS = {
    "users": 9, "broker_connections": 7, "broker_secrets": 18, "strategies": 48, "signal_strategies": 25,
    "signal_strategy_versions": 35, "groups": 65, "group_members": 565, "group_imports": 4,
    "group_import_values": 105, "holding_goals": 59, "holding_goal_reviews": 19,
    "holding_goal_import_presets": 5, "securities": 2027, "listings": 3283, "broker_instruments": 5029,
    "market_instruments": 60, "market_calendar": 42, "candles": 120_000, "indicator_rules": 11,
    "alert_definitions": 38, "alert_events": 310, "custom_indicators": 24, "screener_runs": 25,
    "backtest_runs": 13, "strategy_deployments": 4, "strategy_deployment_states": 4,
    "strategy_deployment_locks": 5, "strategy_deployment_bar_cursors": 8, "strategy_deployment_jobs": 978,
    "strategy_deployment_actions": 939, "strategy_deployment_event_logs": 3206, "alerts": 8236,
    "orders": 11_769, "risk_settings": 22, "risk_profiles": 3, "drawdown_thresholds": 8,
    "symbol_risk_categories": 241, "risk_covariance_cache": 4, "equity_snapshots": 290, "positions": 7,
    "position_snapshots": 844, "execution_policy_state": 1813, "managed_risk_positions": 764,
    "analytics_trades": 609, "alert_decision_logs": 1982, "rebalance_policies": 3, "rebalance_schedules": 3,
    "rebalance_runs": 29, "rebalance_run_orders": 157, "system_events": 16_510,
    "tradingview_alert_payload_templates": 4, "order_jobs": 61,
}  # fmt: skip
# How many of these rows the chain itself has put there.
SEEDED = {"users": 1, "strategies": 9, "signal_strategies": 5, "signal_strategy_versions": 5}

# Ids whose rows were deleted. Foreign keys are not enforced, so some of their children are still there.
GONE = {
    "alerts": range(5400, 5457), "alert_definitions": range(8, 9), "groups": range(16, 18),
    "group_members": range(200, 283), "group_import_values": range(1, 35), "holding_goals": range(24, 25),
    "indicator_rules": range(4, 5), "risk_settings": range(7, 9), "screener_runs": range(5, 8),
    "strategies": range(21, 23), "strategy_deployments": range(2, 3),
    "strategy_deployment_states": range(2, 3), "symbol_risk_categories": range(90, 97),
    "tradingview_alert_payload_templates": range(3, 4),
}  # fmt: skip


@dataclass(frozen=True)
class Orphans:
    """Rows whose parent is gone."""

    table: str
    column: str
    parent: str
    rows: int


@dataclass(frozen=True)
class LongTexts:
    """Texts beyond the declared length of their column; `longest` in characters."""

    table: str
    column: str
    rows: int
    longest: int


@dataclass(frozen=True)
class WideIntegers:
    """Integers beyond 32 bits in a column declared INTEGER."""

    table: str
    column: str
    rows: int
    largest: int


ORPHANS = (
    Orphans("alert_decision_logs", "alert_id", "alerts", 1),
    Orphans("alert_events", "alert_definition_id", "alert_definitions", 17),
    Orphans("group_imports", "group_id", "groups", 1),
    Orphans("holding_goal_reviews", "goal_id", "holding_goals", 1),
    Orphans("indicator_rules", "strategy_id", "strategies", 1),
    Orphans("orders", "deployment_id", "strategy_deployments", 44),
    Orphans("orders", "portfolio_group_id", "groups", 63),
    Orphans("rebalance_policies", "group_id", "groups", 1),
    Orphans("rebalance_runs", "group_id", "groups", 9),
    Orphans("strategy_deployment_actions", "deployment_id", "strategy_deployments", 119),
    Orphans("strategy_deployment_bar_cursors", "deployment_id", "strategy_deployments", 1),
    Orphans("strategy_deployment_event_logs", "deployment_id", "strategy_deployments", 403),
    Orphans("strategy_deployment_jobs", "deployment_id", "strategy_deployments", 119),
    Orphans("strategy_deployment_locks", "deployment_id", "strategy_deployments", 1),
)
LONG_TEXTS = (
    LongTexts("alert_decision_logs", "symbol", 23, 189),
    LongTexts("alert_definitions", "name", 1, 318),
    LongTexts("alerts", "symbol", 103, 189),
    LongTexts("alerts", "interval", 103, 47),
    LongTexts("alerts", "action", 21, 12),
    LongTexts("backtest_runs", "title", 1, 279),
    LongTexts("broker_connections", "access_token_encrypted", 2, 2800),
    LongTexts("broker_secrets", "key", 1, 67),
    LongTexts("broker_secrets", "value_encrypted", 2, 3116),
    LongTexts("execution_policy_state", "symbol", 22, 189),
    LongTexts("group_imports", "original_filename", 1, 329),
    LongTexts("holding_goal_import_presets", "name", 1, 76),
    LongTexts("holding_goal_import_presets", "mapping_json", 1, 12_902),
    LongTexts("holding_goals", "note", 1, 307),
    LongTexts("orders", "symbol", 179, 189),
    LongTexts("rebalance_runs", "idempotency_key", 2, 133),
    LongTexts("risk_profiles", "order_type_policy", 1, 42),
    LongTexts("signal_strategies", "name", 1, 296),
    LongTexts("strategy_deployment_states", "last_decision_reason", 1, 370),
    LongTexts("strategy_deployment_states", "pause_reason", 1, 370),
    LongTexts("tradingview_alert_payload_templates", "name", 1, 297),
)
WIDE_INTEGERS = (
    WideIntegers("alert_definitions", "throttle_seconds", 6, 3_000_000_000),
    WideIntegers("group_members", "reference_qty", 75, 70_476_944_225),
    WideIntegers("risk_profiles", "max_positions", 1, 4_000_000_000),
    WideIntegers("risk_settings", "max_open_positions", 1, 3_000_000_000),
)
# Texts of undeclared length: (table, column) -> how many characters the longest has.
VERY_LONG = {
    ("alerts", "raw_payload"): 16_960,
    ("alerts", "reason"): 16_094,
    ("backtest_runs", "result_json"): 44_702,
    ("screener_runs", "results_json"): 6_561,
}
# How many rows are equal to the row before them in a unique key with NULL in it, which SQLite lets through.
NULL_TWINS = {
    ("orders", "client_order_id"): 3161,
    ("rebalance_runs", "owner_id", "idempotency_key"): 15,
    ("symbol_risk_categories", "user_id", "broker_name", "symbol", "exchange"): 1,
}
# How many names stand in a column twice if capital and small letters are the same.
CASE_TWINS = {
    ("users", "username"): 1,
    ("groups", "name"): 3,
    ("strategies", "name"): 2,
    ("signal_strategies", "name"): 1,
}
# How many pairs of rows hold one instant in two text forms: with microseconds ".000000" and without them.
TWO_FORMS = {("alerts", "received_at"): 40, ("system_events", "created_at"): 150}
# How many rows hold a time without microseconds where the others of the column have them.
WITHOUT_FRACTION = {("users", "created_at"): 2, ("candles", "ts"): 300} | TWO_FORMS
# Alerts whose order was never written, and alerts whose price was no number and is NULL.
ALERTS_WITHOUT_ORDER = 7
PRICES_THAT_WERE_NAN = 33
