"""Tables that the application's own installer has made on PostgreSQL: compared, and never changed.

No type is widened, no table is made, dropped or truncated, and no default is set. What keeps a table from taking
part is a finding of preflight, by which `prepare` refuses. There is no revision to ask for, so the two schemas are
told apart by a fingerprint of their tables, columns and keys.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

import psycopg
import sqlalchemy as sa

from app.db.common.errors import Refused
from app.db.revisions.source.contract import Failed
from app.db.rows.catalog import postgres_columns, sqlite_columns

_DIGITS = 12
_Parts = Mapping[str, Iterable[tuple[str, int]]]  # table: its columns, each with its place in the key or -1


class Existing:
    """The tables that stand on PostgreSQL, whoever made them."""

    name = "existing"
    installed = True

    def require_ready(self, sqlite: sqlite3.Connection) -> None:
        if not sqlite_columns(sqlite):
            raise Refused(
                "the SQLite file holds no table",
                hint="check the path; the application makes its tables when it starts",
                codes=("schema.source",),
            )

    def make_tables(self, postgres: sa.URL) -> None:
        """Nothing: they are there, or preflight's rules have refused."""

    def try_tables(self, connection: sa.Connection) -> Failed | None:
        """Nothing can be tried: only the application's installer knows how to make them."""
        return None

    def versions(self, sqlite: sqlite3.Connection, postgres: psycopg.Connection[Any]) -> tuple[str, str]:
        ours = {
            table: [(name, position - 1) for name, (_, _, position) in columns.items()]
            for table, columns in sqlite_columns(sqlite).items()
        }
        theirs = {
            table: [(column[0], column[5]) for column in columns]
            for table, columns in postgres_columns(postgres).items()
        }
        return _fingerprint(ours), _fingerprint(theirs)


def _fingerprint(tables: _Parts) -> str:
    """A text that is equal for schemas with the same tables, columns and key columns, in whatever order."""
    parts = {
        table: sorted((name, place >= 0) for name, place in columns) for table, columns in tables.items()
    }
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
