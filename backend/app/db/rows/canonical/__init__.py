"""The one canonical form of every value, by column kind; copy, apply and verify all go through it.

SQLite checks no types, so a column may hold anything. Each kind says which stored values mean the same on
PostgreSQL and what their text form there is. Every other value is refused with a reason (`UnsupportedValue`),
never approximated. `values` does this for one value, `columns` for a column at a time. `times` and
`documents` hold the kinds that need more than a line. `shown` is for people and records.

Two values are equal when their canonical forms are. -0.0 is 0.0, and a SQLite REAL column cannot hold the
former. `10:00:00` is `10:00:00.000000`, and `true` is 1. Nothing else is forgiven.
"""

from app.db.rows.canonical.columns import encode_column, is_plain
from app.db.rows.canonical.shown import describe, storage
from app.db.rows.canonical.values import encode

__all__ = ["describe", "encode", "encode_column", "is_plain", "storage"]
