"""The ways in which a client of a history reaches the pair: through sessions, or past them.

Each runs one transaction of portable statements with `:name` parameters and says what the client may
conclude of it.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import psycopg
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.db.common.errors import SwitchError
from app.db.common.urls import connect_arguments, parse_url
from app.db.session import SessionLocal
from tests.core.random.history.ledger import Outcome

Statements = Sequence[tuple[str, Mapping[str, Any]]]
_FAILURES = (SQLAlchemyError, sqlite3.Error, psycopg.Error, SwitchError, OSError)
_NAME = re.compile(r":(\w+)")


class Database(Protocol):
    """One client's way in."""

    def run(self, statements: Statements, *, give_up: bool = False) -> Outcome:
        """One transaction; rolled back at its end if `give_up`."""
        ...


class Sessions:
    """Through the session layer, as a request does."""

    def run(self, statements: Statements, *, give_up: bool = False) -> Outcome:
        committing = False
        try:
            with SessionLocal() as session:
                for sql, parameters in statements:
                    session.execute(text(sql), parameters)
                if give_up:
                    session.rollback()
                    return Outcome.REFUSED
                committing = True
                session.commit()
                return Outcome.OK
        except _FAILURES:
            return Outcome.UNKNOWN if committing else Outcome.REFUSED


class Raw:
    """With a plain driver on whichever side SQLite's control row names; knows nothing of fences.

    Args:
        path: the SQLite file.
        url: the PostgreSQL database.
    """

    def __init__(self, path: str, url: str) -> None:
        self._path = path
        self._arguments = connect_arguments(parse_url(url, name="postgres"))

    def run(self, statements: Statements, *, give_up: bool = False) -> Outcome:
        committing = False
        connection: Any = None
        try:
            connection, marked = self._connect(statements)
            for sql, parameters in marked:
                connection.execute(sql, parameters)
            if give_up:
                connection.rollback()
                return Outcome.REFUSED
            committing = True
            connection.commit()
            return Outcome.OK
        except _FAILURES:
            return Outcome.UNKNOWN if committing else Outcome.REFUSED
        finally:
            if connection is not None:
                connection.close()

    def _connect(self, statements: Statements) -> tuple[Any, Statements]:
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=5)
        if self._on_sqlite(connection):
            connection.execute("BEGIN IMMEDIATE")
            return connection, statements
        connection.close()
        marked = [(_NAME.sub(r"%(\1)s", sql), parameters) for sql, parameters in statements]
        options = {"connect_timeout": 3, "options": "-c statement_timeout=5000 -c TimeZone=UTC"}
        return psycopg.connect(**self._arguments | options), marked

    @staticmethod
    def _on_sqlite(connection: sqlite3.Connection) -> bool:
        try:
            row = connection.execute("SELECT primary_side FROM st_control").fetchone()
        except sqlite3.OperationalError:
            return True  # nothing is prepared
        return row is None or row[0] == "sqlite"
