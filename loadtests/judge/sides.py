"""The two databases as the oracle reads them: with plain drivers, and nothing of the application between."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import psycopg
from psycopg.rows import dict_row

Row = Mapping[str, Any]


class Database(Protocol):
    """What the oracle needs of a side."""

    name: str

    def select(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Rows of a query with `?` for parameters."""
        ...


class SqliteSide:
    """The SQLite file, opened read-only."""

    name = "sqlite"

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10)
        self._connection.row_factory = sqlite3.Row

    def select(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        with closing(self._connection.execute(sql, parameters)) as cursor:
            return [dict(row) for row in cursor]

    def close(self) -> None:
        self._connection.close()


class PostgresSide:
    """The PostgreSQL database. `conninfo`: a libpq connection string or URL."""

    name = "postgres"

    def __init__(self, conninfo: str) -> None:
        self._connection = psycopg.connect(conninfo, autocommit=True, row_factory=dict_row)

    def select(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        marked = sql.replace("%", "%%").replace("?", "%s").encode()
        return list(self._connection.execute(marked, parameters).fetchall())

    def close(self) -> None:
        self._connection.close()
