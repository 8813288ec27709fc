"""Schema revisions: the Alembic chain on one database, and on a live pair."""
