"""Fills a database with the schema of the chain so that the planner sees tables as they are in use.

What grows without end is large; what people make by hand has a few rows. Hardly any order waits and hardly
any job is due: the rest is history, as in a database of some age.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

LARGE = (
    "alerts",
    "orders",
    "system_events",
    "candles",
    "strategy_deployment_jobs",
    "strategy_deployment_actions",
    "order_jobs",
    "alert_events",
    "alert_decision_logs",
    "position_snapshots",
)
ROWS = 20_000
FIRST_DAY = "2026-01-02 09:15:00"

_NUMBERS = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})"
_TIMES = {
    "postgresql": f"(timestamp '{FIRST_DAY}' + i * interval '1 minute')",
    "sqlite": f"strftime('%Y-%m-%d %H:%M:%S.000000', '{FIRST_DAY}', i || ' minutes')",
}
_DAYS = {
    "postgresql": f"CAST(timestamp '{FIRST_DAY}' + (i / 50) * interval '1 day' AS date)",
    "sqlite": f"date('{FIRST_DAY}', (i / 50) || ' days')",
}
_BOOLEANS = {"postgresql": ("true", "false"), "sqlite": ("1", "0")}
_STATEMENTS = (
    """INSERT INTO users (id, username, password_hash, role, created_at, updated_at)
       SELECT 1000 + i, 'trader' || i, 'x', 'TRADER', {time}, {time} FROM n WHERE i <= 21""",
    """INSERT INTO strategies (id, name, execution_mode, execution_target, enabled, created_at, updated_at)
       SELECT 1000 + i, 'strategy' || i, 'MANUAL', 'LIVE', {true}, {time}, {time} FROM n WHERE i <= 50""",
    """INSERT INTO alerts (id, user_id, strategy_id, symbol, exchange, action, qty, platform, source,
                           raw_payload, received_at)
       SELECT i, 1001 + i % 20, NULL, 'NSE:S' || (i % 300), 'NSE', 'BUY', 1, 'TRADINGVIEW',
              CASE i % 7 WHEN 0 THEN 'RULE' ELSE 'TRADINGVIEW' END, '{{}}', {time} FROM n""",
    """INSERT INTO orders (id, user_id, alert_id, client_order_id, symbol, exchange, side, qty, order_type,
                           product, gtt, synthetic_gtt, status, mode, execution_target, broker_name,
                           simulated, is_exit, created_at, updated_at)
       SELECT i, 1001 + i % 20, i, 'TVA:' || i, 'NSE:S' || (i % 300), 'NSE', 'BUY', 1, 'MARKET', 'CNC',
              {false}, CASE i % 50 WHEN 0 THEN {true} ELSE {false} END,
              CASE i % 100 WHEN 0 THEN 'WAITING' ELSE 'EXECUTED' END, 'MANUAL', 'LIVE', 'zerodha',
              {false}, {false}, {time}, {time} FROM n""",
    """INSERT INTO system_events (id, level, category, message, details, created_at)
       SELECT i, 'INFO', 'alert', 'Alert ingested and order created', '{{}}', {time} FROM n""",
    """INSERT INTO candles (id, symbol, exchange, timeframe, ts, open, high, low, close, volume)
       SELECT i, 'S' || (i % 20), 'NSE', '1m', {time}, 1, 1, 1, 1, 1 FROM n""",
    """INSERT INTO strategy_deployments (id, owner_id, name, kind, execution_target, enabled, broker_name,
                                         product, target_kind, exchange, symbol, timeframe, config_json,
                                         created_at, updated_at)
       SELECT i, 1001, 'deployment' || i, 'STRATEGY', 'PAPER', {true}, 'zerodha', 'CNC', 'SYMBOL', 'NSE',
              'S' || i, '5m', '{{}}', {time}, {time} FROM n WHERE i <= 100""",
    """INSERT INTO strategy_deployment_jobs (id, deployment_id, owner_id, kind, status, dedupe_key,
                                             scheduled_for, payload_json, attempts, max_attempts,
                                             locked_at, created_at, updated_at)
       SELECT i, 1 + i % 100, 1001, 'BAR_CLOSED', CASE i % 1000 WHEN 0 THEN 'PENDING' WHEN 1 THEN 'RUNNING'
              ELSE 'DONE' END, 'key' || i, {time}, '{{}}', 0, 5,
              CASE i % 1000 WHEN 1 THEN {time} END, {time}, {time} FROM n""",
    """INSERT INTO strategy_deployment_actions (id, deployment_id, job_id, kind, payload_json, created_at)
       SELECT i, 1 + i % 100, i, 'JOB_EXECUTED', '{{}}', {time} FROM n""",
    """INSERT INTO order_jobs (id, order_id, status, priority, payload_json, attempts, max_attempts, created_at,
                               updated_at)
       SELECT i, i, CASE i % 1000 WHEN 0 THEN 'FAILED' ELSE 'DONE' END, 10, '{{}}', 1, 5, {time}, {time} FROM n""",
    """INSERT INTO alert_definitions (id, user_id, name, broker_name, target_kind, target_ref, evaluation_cadence,
                                      variables_json, condition_dsl, signal_strategy_params_json, action_type,
                                      action_params_json, trigger_mode, only_market_hours, enabled, created_at,
                                      updated_at)
       SELECT i, 1001, 'd', 'zerodha', 'SYMBOL', 'X', '1m', '[]', '1', '{{}}', 'ALERT_ONLY', '{{}}', 'ONCE', {false},
              {true}, {time}, {time} FROM n WHERE i <= 50""",
    """INSERT INTO alert_events (id, alert_definition_id, user_id, symbol, snapshot_json, triggered_at)
       SELECT i, 1 + i % 50, 1001, 'X', '{{}}', {time} FROM n""",
    """INSERT INTO alert_decision_logs (id, user_id, alert_id, order_id, source, decision, reasons_json, details_json,
                                        created_at)
       SELECT i, 1001, i, i, 'ALERT', 'PLACED', '[]', '{{}}', {time} FROM n""",
    """INSERT INTO position_snapshots (id, broker_name, as_of_date, captured_at, symbol, exchange, product, qty, avg_price,
                                       pnl)
       SELECT i, 'zerodha', {day}, {time}, 'S' || (i % 50), 'NSE', 'CNC', 1, 1, 0 FROM n""",
)


def fill(connection: Connection) -> None:
    """Insert the rows; PostgreSQL counts them, as its autovacuum would, and SQLite is never told to."""
    dialect = connection.dialect.name
    true, false = _BOOLEANS[dialect]
    for statement in _STATEMENTS:
        values = statement.format(time=_TIMES[dialect], day=_DAYS[dialect], true=true, false=false)
        connection.execute(text(f"{_NUMBERS} {values}"))
    if dialect == "postgresql":
        for table in (*LARGE, "users", "strategies", "strategy_deployments", "alert_definitions"):
            sequence = f"pg_get_serial_sequence('{table}', 'id')"
            connection.exec_driver_sql(f"SELECT setval({sequence}, (SELECT max(id) FROM {table}))")
        connection.exec_driver_sql("ANALYZE")
