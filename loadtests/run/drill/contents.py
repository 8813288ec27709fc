"""Every row of a database as a hash, so that two databases on two servers can be compared row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import psycopg
from psycopg import sql

Contents = Mapping[str, Counter[str]]  # by table: how often each row's hash is there


def contents(dsn: str) -> Contents:
    """Every row of every table, and every sequence as a row that never goes back."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET extra_float_digits = 3")
        names = connection.execute(
            "SELECT c.oid::regclass::text, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
        ).fetchall()
        return {
            name: Counter(
                row[0]
                for row in connection.execute(
                    sql.SQL("SELECT md5(t::text) FROM {} t").format(sql.Identifier(schema, table))
                )
            )
            for name, schema, table in names
        }


def sequences(dsn: str) -> dict[str, int]:
    """The last number that each sequence has given out."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT schemaname || '.' || sequencename, coalesce(last_value, 0) FROM pg_sequences"
        ).fetchall()
    return {name: int(value) for name, value in rows}


def rows(found: Contents) -> int:
    """How many rows there are."""
    return sum(hashes.total() for hashes in found.values())


def differences(expected: Contents, found: Contents) -> dict[str, int]:
    """By table: how many rows are missing or too many. A table that is not there counts with all of its rows."""
    counted = {
        name: ((expected.get(name, Counter()) - found.get(name, Counter())).total()
               + (found.get(name, Counter()) - expected.get(name, Counter())).total())
        for name in expected.keys() | found.keys()
    }  # fmt: skip
    return {name: count for name, count in sorted(counted.items()) if count}
