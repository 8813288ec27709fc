-- Two indexes that the application's schema lacks: the pages with the newest alerts and the newest events
-- read and sort their whole table for each call. They are an operator's addition to PostgreSQL, not a
-- revision, so the schema stays the one that the application's own migrations know. Run it when PostgreSQL
-- is primary: psql -f indexes.sql. No lock keeps writers out; it can be repeated.
CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_alerts_received_at ON alerts (received_at, id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_system_events_created_at ON system_events (created_at, id);
