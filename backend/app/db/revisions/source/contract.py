"""What makes the application's tables on PostgreSQL: the seam between the move and the application's schema.

Our own code makes no table of the application and changes none. A source may run the application's own
migrations, as `chained.Alembic` does. A source may also look at tables that the application's installer has
made, and refuse by name what does not fit, as `existing.Existing` does. Such a source changes nothing of the
tables.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg
import sqlalchemy as sa


@dataclass(frozen=True)
class Failed:
    """The revision that failed: where, why, what to do.

    `certain` unless the trial's own schema may be the cause.
    """

    revision: str
    table: str
    column: str
    message: str
    remedy: str
    certain: bool = True

    @property
    def text(self) -> str:
        """All of it but the remedy, in one line."""
        return f"revision {self.revision} fails on PostgreSQL: {self.message}"


class SchemaSource(Protocol):
    """Where the tables come from, and by what one state of a schema is told from another.

    `name` is what --schema calls it. `installed`: the application's own installer made the tables of PostgreSQL,
    which are left exactly as they are, their limits among them.
    """

    name: str
    installed: bool

    def require_ready(self, sqlite: sqlite3.Connection) -> None:
        """Make sure that SQLite's tables are those that this source stands for. Called before any change.

        Raises:
            Refused: they are not. Says what to do first.
        """

    def make_tables(self, postgres: sa.URL) -> None:
        """Make sure that PostgreSQL has all tables and that they hold what SQLite's do. Harmless to repeat.

        Raises:
            SwitchError: a table cannot be had, or does not fit.
        """

    def try_tables(self, connection: sa.Connection) -> Failed | None:
        """Make the tables in the connection's empty schema, within its transaction, which is rolled back.

        Returns:
            What failed, None if nothing did.
        """

    def versions(self, sqlite: sqlite3.Connection, postgres: psycopg.Connection[Any]) -> tuple[str, str]:
        """What each side's schema is known by: a revision, or a fingerprint. A switch asks for equal ones."""
