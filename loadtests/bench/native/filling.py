"""Rows of some months, so that tables are as large as the trial wants them; made inside PostgreSQL."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg import sql

LARGE: Final = ("alerts", "orders", "system_events", "candles", "order_jobs", "strategy_deployment_jobs")
CANDLES: Final = 4  # as many candles as that for each alert
DAYS: Final = 85  # all of them young enough for retention, save some candles
# Row i of n lies i/n of the way from DAYS ago to now.
_AT: Final = f"(now() AT TIME ZONE 'UTC' - interval '{DAYS} days' + {DAYS}.0 * i / {{n}} * interval '1 day')"
# Ids of a million and more: the trial's own deliveries come after them.
_STATEMENTS: Final = {
    "alerts": """INSERT INTO alerts (id, user_id, symbol, exchange, action, qty, platform, source, raw_payload, received_at)
        SELECT i, 1000 + i % 6, 'NSE:S' || (i % 300), 'NSE', 'BUY', 1, 'TRADINGVIEW',
               CASE i % 7 WHEN 0 THEN 'RULE' ELSE 'TRADINGVIEW' END, '{{}}', {at} FROM generate_series(1, {n}::bigint) i""",
    "orders": """INSERT INTO orders (id, user_id, alert_id, client_order_id, symbol, exchange, side, qty, order_type,
               product, gtt, synthetic_gtt, status, mode, execution_target, broker_name, simulated, is_exit, created_at, updated_at)
        SELECT i, 1000 + i % 6, i, 'TVA:old' || i, 'NSE:S' || (i % 300), 'NSE', 'BUY', 1, 'MARKET', 'CNC',
               false, i % 5000 = 0, CASE i % 10000 WHEN 0 THEN 'WAITING' ELSE 'EXECUTED' END, 'MANUAL', 'LIVE',
               'zerodha', false, false, {at}, {at} FROM generate_series(1, {n}::bigint) i""",
    "system_events": """INSERT INTO system_events (id, level, category, message, details, created_at)
        SELECT i, 'INFO', 'alert', 'Alert ingested and order created', '{{"order_id": ' || i || '}}', {at}
        FROM generate_series(1, {n}::bigint) i""",
    "candles": """INSERT INTO candles (id, symbol, exchange, timeframe, ts, open, high, low, close, volume)
        SELECT i, 'S' || (i % 20), 'NSE', '5m', {at}, 1, 1, 1, 1, 1 FROM generate_series(1, {n}::bigint) i""",
    "strategy_deployments": """INSERT INTO strategy_deployments (id, owner_id, name, kind, execution_target, enabled,
               broker_name, product, target_kind, exchange, symbol, timeframe, config_json, created_at, updated_at)
        SELECT i, 1000, 'deployment' || i, 'STRATEGY', 'PAPER', true, 'zerodha', 'CNC', 'SYMBOL', 'NSE', 'S' || i, '5m',
               '{{}}', {at}, {at} FROM generate_series(1, LEAST({n}::bigint, 100)) i""",
    "order_jobs": """INSERT INTO order_jobs (order_id, status, priority, payload_json, attempts, max_attempts, created_at, updated_at)
        SELECT i, 'DONE', 10, '{{}}', 0, 5, {at}, {at} FROM generate_series(1, {n}::bigint / 4) i""",
    "strategy_deployment_jobs": """INSERT INTO strategy_deployment_jobs (deployment_id, owner_id, kind, status, dedupe_key,
               scheduled_for, payload_json, attempts, max_attempts, created_at, updated_at)
        SELECT 1 + i % LEAST({n}::bigint, 100), 1000, 'BAR_CLOSED', 'DONE', 'old' || i, {at}, '{{}}', 0, 5, {at}, {at}
        FROM generate_series(1, {n}::bigint / 4) i""",
}  # fmt: skip


def fill(connection: psycopg.Connection[Any], rows: int) -> None:
    """So many alerts, orders and events, four times as many candles, and a quarter of that of each kind of job."""
    connection.execute("SET maintenance_work_mem = '256MB'")
    for table, statement in _STATEMENTS.items():
        count = rows * CANDLES if table == "candles" else rows
        with connection.transaction():
            _without_indexes(connection, table, statement.format(at=_AT.format(n=count), n=count))
        connection.execute(
            sql.SQL(
                "SELECT setval(pg_get_serial_sequence({name}, 'id'), (SELECT max(id) FROM {table}))"
            ).format(name=sql.Literal(table), table=sql.Identifier(table))
        )
    connection.execute("VACUUM ANALYZE")


def _without_indexes(connection: psycopg.Connection[Any], table: str, insert: str) -> None:
    """Fill a table and build its indexes after that, which is several times as fast."""
    query = """SELECT c.relname, pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
               WHERE i.indrelid = %s::regclass AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = i.indexrelid)"""
    indexes = connection.execute(query, (table,)).fetchall()
    for name, _ in indexes:
        connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
    connection.execute(insert.encode())
    for _, definition in indexes:
        connection.execute(definition.encode())
