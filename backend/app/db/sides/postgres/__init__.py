"""PostgreSQL as primary and as shadow."""
