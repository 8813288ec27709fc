"""`create_all` through our Base makes on PostgreSQL the columns that the chain makes there."""

from __future__ import annotations

import sqlalchemy as sa

import app.models  # noqa: F401 - fills Base.metadata
from app.db.base import Base
from tests.data.schema.conftest import HEAD, Ladder

_TYPES = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), coalesce(k.collname, '')
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_collation k ON k.oid = a.attcollation
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname <> 'alembic_version'
"""
_SEQUENCES = "SELECT sequencename, data_type::text FROM pg_sequences WHERE schemaname = 'public'"


def catalog(url: str, query: str) -> set[tuple[str, ...]]:
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        return {tuple(row) for row in connection.exec_driver_sql(query)}


def test_types_and_collations_are_those_of_the_chain(pg_url: str, ladder: Ladder) -> None:
    with sa.create_engine(pg_url, poolclass=sa.NullPool).begin() as connection:
        connection.exec_driver_sql("CREATE TABLE of_others (name varchar(5))")
        Base.metadata.create_all(connection)
    made, chain = catalog(pg_url, _TYPES), catalog(ladder.at("postgres", HEAD), _TYPES)
    ours = {row for row in made if row[0] != "of_others"}
    assert ours - chain == set()
    assert {row[:2] for row in chain} == {row[:2] for row in ours}
    assert ("of_others", "name", "character varying(5)", "default") in made
    sequences = catalog(pg_url, _SEQUENCES)
    assert sequences and {kind for _, kind in sequences} == {"bigint"}
