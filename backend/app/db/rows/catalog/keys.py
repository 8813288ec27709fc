"""The columns by which a table's rows are named: its primary key, or else a unique key that stands in for it.

Many applications declare UNIQUE where others declare PRIMARY KEY. Each side chooses by itself, because triggers are
made on one side without a look at the other. So both choose by the same rule: the fewest columns, then their names.
"""

from __future__ import annotations

import sqlite3

from app.db.rows.catalog.tables import quote

# The index of PostgreSQL that names the rows of a table c. A unique one stands in where its columns take no NULL,
# it covers every row, and it is checked at once. For a LEFT JOIN LATERAL; `columns` are the key's, in its order.
KEY_INDEX = """(
  SELECT i.indexrelid, (i.indkey::int2[])[0:i.indnkeyatts - 1] AS columns
  FROM pg_index i
  WHERE i.indrelid = c.oid AND (i.indisprimary OR i.indisunique AND i.indimmediate AND i.indisvalid
    AND i.indpred IS NULL AND i.indexprs IS NULL AND NOT EXISTS (
      SELECT FROM pg_attribute n WHERE n.attrelid = c.oid AND n.attnum = ANY((i.indkey::int2[])[0:i.indnkeyatts - 1])
      AND (NOT n.attnotnull OR n.attgenerated <> '')))
  ORDER BY i.indisprimary DESC, i.indnkeyatts, (
    SELECT array_agg(n.attname::text COLLATE "C" ORDER BY n.attname::text COLLATE "C") FROM pg_attribute n
    WHERE n.attrelid = c.oid AND n.attnum = ANY((i.indkey::int2[])[0:i.indnkeyatts - 1])), i.indexrelid
  LIMIT 1
)"""


def folds(connection: sqlite3.Connection, table: str, column: str) -> str:
    """The collation by which a comparison with a column overlooks case or blanks, '' if it overlooks nothing.

    Such a comparison finds more rows than a key means. No pragma tells how a column collates. The compiled
    comparison does. Nothing is read.
    """
    compared = connection.execute(
        f"EXPLAIN SELECT 1 FROM {quote(table)} WHERE +{quote(column)} = +'x'"
    ).fetchall()
    told = [str(row[5]) for row in compared if row[1] in ("Eq", "Ne")]
    return next((name for name in ("NOCASE", "RTRIM") if any(text.startswith(name) for text in told)), "")


def stand_in(connection: sqlite3.Connection, table: str) -> tuple[str, ...]:
    """The columns of SQLite's unique key that names rows without a primary key. () if none can.

    One whose columns take no NULL comes before others. A row with NULL in such a key is refused like one with NULL
    in a primary key, which SQLite allows, too.
    """
    listed = connection.execute(f"PRAGMA table_xinfo({quote(table)})").fetchall()
    required = {row[1] for row in listed if row[3]}
    ordinary = {row[1] for row in listed if row[6] == 0}
    found = []
    for _, name, unique, _, partial in connection.execute(f"PRAGMA index_list({quote(table)})").fetchall():
        parts = [row for row in connection.execute(f"PRAGMA index_xinfo({quote(name)})").fetchall() if row[5]]
        names = tuple(row[2] for row in parts)
        plain = ordinary.issuperset(names) and all(row[4].upper() == "BINARY" for row in parts)
        plain = plain and not any(folds(connection, table, column) for column in names)
        if unique and not partial and plain:
            found.append((not required.issuperset(names), len(names), sorted(names), names))
    return min(found)[-1] if found else ()
