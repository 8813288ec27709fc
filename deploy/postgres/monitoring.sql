-- What the exporter needs, once per database, as its owner or a superuser: the statistics of statements, and a
-- role that sees statistics and no rows. Elsewhere than in compose.yaml give the role a password (\password sigma_monitor).
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
CREATE ROLE sigma_monitor LOGIN IN ROLE pg_monitor;
ALTER ROLE sigma_monitor SET statement_timeout = '5s';
