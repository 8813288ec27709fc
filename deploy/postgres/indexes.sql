-- Three indexes that the application's schema lacks: the pages with the newest alerts, with the newest events, and
-- with the events of one order read their whole table for each call. They are an operator's addition to PostgreSQL, not a
-- revision, so the schema stays the one that the application's own migrations know. Run it when PostgreSQL
-- is primary: psql -f indexes.sql. No lock keeps writers out; it can be repeated.
CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_alerts_received_at ON alerts (received_at, id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_system_events_created_at ON system_events (created_at, id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_system_events_order_text
  ON system_events ((substring(details, '"order_id": ?([0-9]{1,20})[,}]')))
  WHERE substring(details, '"order_id": ?([0-9]{1,20})[,}]') IS NOT NULL;
