"""The application's own schema on a pair of databases, as a backend process serves it in one mode after another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from app.db import Base
from app.db.common.settings import DualWrite, ShimSettings
from app.db.common.urls import Side
from app.db.revisions.chain import upgrade_head
from app.db.revisions.source import Alembic
from app.db.session.at_start import begin
from app.db.session.routed import RoutedSession
from app.db.session.runtime import Runtime, make_runtime
from loadtests.stage.embedded import EmbeddedPostgres
from migration.fill.prepare import prepare
from tests.support.pairs import TestPair, wait_until

_COUNTS = " UNION ALL ".join(
    f"SELECT '{name}' AS name, count(*) AS n FROM \"{name}\"" for name in sorted(Base.metadata.tables)
)
_CHILDREN_FIRST = [table.name for table in reversed(Base.metadata.sorted_tables)]


class Served:
    """One process on a pair, without rows; made once and emptied between tests."""

    runtime: Runtime
    engine: Engine

    def __init__(self, pair: TestPair, primary: Side) -> None:
        self.pair = pair
        self.primary = primary
        self._mode: DualWrite | None = None

    def serve(self, mode: DualWrite) -> None:
        """Be a process in this mode from now on; one of another mode ends."""
        if mode is self._mode:
            return
        self.stop()
        urls = {Side.SQLITE: f"sqlite:///{self.pair.path}", Side.POSTGRES: self.pair.url}
        settings = ShimSettings(
            shadow_database_url=urls[self.primary.other], dual_write=mode, dual_write_timeout_ms=20_000
        )
        self.runtime = make_runtime(urls[self.primary], settings)
        self._mode = mode
        begin(self.runtime)
        if mode is not DualWrite.OFF:
            wait_until(lambda: self.runtime.replicator.health().phase is not None, seconds=60)
        self.engine = self.runtime.engine(self.primary)

    def stop(self) -> None:
        """End the process, if there is one."""
        if self._mode is not None:
            self._mode = None
            self.runtime.stop()

    def session(self) -> Session:
        return RoutedSession(pair=self.runtime, autoflush=False, expire_on_commit=False)

    def settle(self) -> None:
        """Carry what is left, see that both sides hold as many rows and none was refused, and empty them.

        Raises:
            AssertionError: they do not.
        """
        self.pair.drain()
        sides = [self._counts(side) for side in Side]
        assert sides[0] == sides[1]
        assert self.pair.pg.execute("SELECT tbl, k, reason FROM st_quarantine").fetchall() == []
        assert self.pair.app(self.primary.other).execute("SELECT tbl, k FROM st_pending").fetchall() == []
        self._empty(sides[0])

    def empty(self) -> None:
        self._empty(self._counts(self.primary))

    def _counts(self, side: Side) -> dict[str, int]:
        return dict(map(tuple, self.pair.app(side).execute(_COUNTS).fetchall()))

    def _empty(self, counts: dict[str, int]) -> None:
        with self.session() as session:
            for name in _CHILDREN_FIRST:
                if counts[name]:
                    session.execute(text(f'DELETE FROM "{name}"'))
            session.commit()
        self.pair.drain()


@contextmanager
def served(folder: Path, server: EmbeddedPostgres, primary: Side) -> Iterator[Served]:
    """A pair at the schema's head with either side as primary, served in no mode yet."""
    path = folder / f"{primary}.db"
    name = f"served_{primary}"
    upgrade_head(f"sqlite:///{path}")
    pair = TestPair(path, server.create_database(name))
    pair.pg.execute(f"ALTER DATABASE {name} SET synchronous_commit = off".encode())
    prepare(pair.pair, pair.applier.stores, Alembic(), report=lambda _line: None)
    pair.backfill()
    if primary is Side.POSTGRES:
        pair.moved(Side.POSTGRES)
    found = Served(pair, primary)
    try:
        found.serve(DualWrite.SYNC)
        found.empty()
        yield found
    finally:
        found.stop()
        pair.close()
        server.drop_database(name)
