"""SQLite as primary and as shadow."""
