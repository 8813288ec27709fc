"""The pair of stores: both sides through one connection each, for one thread at a time.

Whoever needs no round of apply takes `Stores`; an `Applier` is made on top of one. Whoever opens a pair of
stores closes it, best by a `with` block.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from app.db.common.settings import ShimSettings
from app.db.common.urls import Pair, Side
from app.db.sides.contract import Store
from app.db.sides.postgres.store import PostgresStore
from app.db.sides.sqlite.store import SqliteStore


class Stores:
    """Both sides of a pair.

    Args:
        sqlite, postgres: the two sides, each with a connection that nobody else uses.
    """

    def __init__(self, sqlite: SqliteStore, postgres: PostgresStore) -> None:
        self.sqlite = sqlite
        self.postgres = postgres

    @classmethod
    def open(cls, pair: Pair, settings: ShimSettings, *, application_name: str = "st-shim") -> Self:
        """Open the SQLite file; PostgreSQL is connected to at its first use.

        Args:
            application_name: what PostgreSQL shows of this connection.

        Raises:
            ConfigurationError: there is no such file, or it is not a SQLite database.
        """
        return cls(
            SqliteStore(pair.path, busy_timeout_ms=settings.sqlite_busy_timeout_ms),
            PostgresStore(pair.postgres, settings, application_name=application_name),
        )

    def store(self, side: Side) -> Store:
        """The store of one side."""
        return self.sqlite if side is Side.SQLITE else self.postgres

    def directions(self) -> tuple[Store, Store]:
        """Primary and shadow, as SQLite's control row has it.

        Raises:
            NotPrepared: the SQLite file carries no control row.
        """
        primary = self.sqlite.read_primary()
        return self.store(primary), self.store(primary.other)

    def finish_by(self, until: float | None) -> None:
        """Give up what is not done at this moment of `time.monotonic`; None: be as patient as usual."""
        self.sqlite.finish_by(until)
        self.postgres.finish_by(until)

    def close(self) -> None:
        """Close both connections. Harmless to repeat."""
        self.sqlite.close()
        self.postgres.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
