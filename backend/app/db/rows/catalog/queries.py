"""What PostgreSQL's catalog is asked for: columns and the labels of enums."""

from __future__ import annotations

from app.db.rows.catalog.keys import KEY_INDEX

# A domain counts as the type under it: what it refuses besides, PostgreSQL says of the row.
POSTGRES_COLUMNS = f"""
SELECT c.relname, a.attname, format_type(b.type, NULL), format_type(b.type, b.modifier),
       NOT (a.attnotnull OR b.required), b.enum,
       coalesce(array_position(i.columns, a.attnum), -1)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
JOIN pg_type t ON t.oid = a.atttypid
CROSS JOIN LATERAL (
  SELECT a.atttypid AS type, a.atttypmod AS modifier, false AS required, t.typtype = 'e' AS enum
  WHERE t.typtype <> 'd'
  UNION ALL
  (WITH RECURSIVE d AS (
     SELECT t.typbasetype AS type, t.typtypmod AS modifier, t.typnotnull AS required WHERE t.typtype = 'd'
     UNION ALL
     SELECT n.typbasetype, n.typtypmod, d.required OR n.typnotnull
     FROM d JOIN pg_type n ON n.oid = d.type AND n.typtype = 'd')
   SELECT d.type, d.modifier, d.required, n.typtype = 'e' FROM d JOIN pg_type n ON n.oid = d.type AND n.typtype <> 'd')
) AS b
LEFT JOIN LATERAL {KEY_INDEX} i ON true
WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND NOT c.relispartition
ORDER BY c.relname, a.attnum
"""

# The labels of every enum by its type, as format_type() spells it.
ENUM_LABELS = """
SELECT format_type(e.enumtypid, NULL), array_agg(e.enumlabel::text ORDER BY e.enumsortorder)
FROM pg_enum e GROUP BY e.enumtypid ORDER BY 1
"""
