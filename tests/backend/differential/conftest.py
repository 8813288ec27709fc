"""Databases made by the whole chain of revisions, holding the same rows, and the applications on them."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url
from sqlalchemy.orm import Session

from app.core import auth
from app.core.auth import create_session_token
from app.core.config import Settings, get_settings
from app.db.common.settings import DualWrite, ShimSettings
from app.db.common.urls import Side
from app.db.revisions.chain import upgrade_head
from app.db.revisions.source import Alembic
from app.db.session import runtime as runtimes
from app.db.session.at_start import begin
from app.db.session.engines import make_engine
from app.db.session.runtime import Runtime, make_runtime
from app.native import branch
from loadtests.stage.embedded import EmbeddedPostgres
from migration.fill.prepare import prepare
from tests.backend.api.api_values import CRYPTO_KEY, WEBHOOK_SECRET
from tests.backend.differential.backends import Backend, Clock, Twins, log_in, stored
from tests.backend.differential.seeds import plant
from tests.core.modes.chosen import ALL, PAIRS
from tests.support.pairs import TestPair, wait_until


@dataclass(frozen=True)
class Made:
    """The databases that tests get copies of, and the id of the user who is logged in."""

    folder: Path
    server: EmbeddedPostgres
    user_id: int

    def sqlite(self, path: Path, kind: str = "plain") -> str:
        shutil.copy(self.folder / f"{kind}.db", path)
        return f"sqlite:///{path}"

    def postgres(self, kind: str = "plain") -> tuple[str, str]:
        """(name, URL) of a new copy."""
        name = f"d_{uuid.uuid4().hex[:12]}"
        return name, self.server.create_database(name, template=f"tpl_{kind}")


@contextlib.contextmanager
def opened(url: str) -> Iterator[Engine]:
    """The database as the application opens it."""
    engine = make_engine(make_url(url), ShimSettings())
    yield engine
    engine.dispose()


def _planted(url: str) -> int:
    here, there = Clock().patched()
    with opened(url) as engine, Session(engine, autoflush=False) as db, here, there:
        return plant(db)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """plain: seeded by hand on each side; pair: the seeded SQLite file moved to a PostgreSQL beside it."""
    folder = tmp_path_factory.mktemp("made")
    with EmbeddedPostgres(light=True) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(auth, "_ITERATIONS", 1_000)
        urls = [f"sqlite:///{folder / 'plain.db'}", server.create_database("tpl_plain")]
        ids = []
        for url in urls:
            upgrade_head(url)
            ids.append(_planted(url))
        assert ids[0] == ids[1]
        shutil.copy(folder / "plain.db", folder / "pair.db")
        pair = TestPair(folder / "pair.db", server.create_database("tpl_pair"))
        try:
            prepare(pair.pair, pair.applier.stores, Alembic(), report=lambda _line: None)
            pair.backfill()
            pair.lite.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            pair.close()
        yield Made(folder, server, ids[0])


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """The application's settings with the values of the recorded cases and an empty config folder."""
    (tmp_path / "config").mkdir()
    monkeypatch.setenv("ST_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setattr(auth, "_ITERATIONS", 1_000)
    current = get_settings()
    monkeypatch.setattr(current, "crypto_key", CRYPTO_KEY)
    monkeypatch.setattr(current, "tradingview_webhook_secret", WEBHOOK_SECRET)
    # Thousands of generated log-ins come from one address.
    monkeypatch.setattr(current, "login_attempts_per_minute", 0)
    return current


@pytest.fixture
def clock() -> Iterator[Clock]:
    """The clock of both backends."""
    clock = Clock()
    here, there = clock.patched()
    with here, there:
        yield clock


@pytest.fixture
def on_sqlite(made: Made, tmp_path: Path) -> Iterator[Backend]:
    with opened(made.sqlite(tmp_path / "own.db")) as engine:
        yield Backend("SQLite", engine)


@pytest.fixture
def on_postgres(made: Made) -> Iterator[Backend]:
    name, url = made.postgres()
    with opened(url) as engine:
        yield Backend("PostgreSQL", engine, sequences=engine)
    made.server.drop_database(name)


@pytest.fixture
def on_native(made: Made) -> Iterator[Backend]:
    """PostgreSQL with the native branch; what stands against it in the seeds stays."""
    name, url = made.postgres()
    alone = make_runtime(url, ShimSettings())
    branch.upgrade(alone, keep=True)
    with opened(url) as engine:
        yield Backend("native", engine, sequences=engine)
    made.server.drop_database(name)


@dataclass(frozen=True)
class Dual:
    """A backend process on a pair, with what a test needs to look behind it."""

    pair: TestPair
    runtime: Runtime
    backend: Backend

    @property
    def at_once(self) -> bool:
        """Whether the shadow has a commit when its caller knows of it."""
        return self.runtime.settings.dual_write in (DualWrite.SYNC, DualWrite.STRICT)

    def engine(self, side: Side) -> Engine:
        return self.runtime.engine(side)

    def catch_up(self) -> None:
        """Have the shadow told what is logged by now; with `off` no thread of the backend's does it."""
        if self.runtime.settings.dual_write is DualWrite.OFF:
            self.pair.drain()
        else:
            self.runtime.replicator.catch_up()


@contextlib.contextmanager
def dual(made: Made, path: Path, mode: DualWrite, primary: Side = Side.SQLITE) -> Iterator[Dual]:
    """An application in dual write on a copy of the pair, with this side as primary."""
    name, url = made.postgres("pair")
    pair = TestPair(path, url)
    urls = {Side.SQLITE: made.sqlite(path, "pair"), Side.POSTGRES: url}
    if primary is Side.POSTGRES:
        pair.moved(primary)
    wishes = {"dual_write": mode, "dual_write_timeout_ms": 20_000, "cutover_hold_ms": 20_000}
    runtime = make_runtime(urls[primary], ShimSettings(shadow_database_url=urls[primary.other], **wishes))
    former = runtimes.use(runtime)
    begin(runtime)
    if mode is not DualWrite.OFF:
        wait_until(lambda: runtime.replicator.health().phase is not None)
    backend = Backend("dual write", None, sequences=runtime.engine(Side.POSTGRES))
    yield Dual(pair, runtime, backend)
    runtime.stop()
    runtimes.use(former)
    pair.close()
    made.server.drop_database(name)


@pytest.fixture(params=list(DualWrite) if ALL else [DualWrite.SYNC, DualWrite.STRICT])
def on_both(made: Made, tmp_path: Path, settings: Settings, request: pytest.FixtureRequest) -> Iterator[Dual]:
    """An application in dual write, SQLite being primary."""
    with dual(made, tmp_path / "pair.db", DualWrite(request.param)) as found:
        yield found


@pytest.fixture(params=["PostgreSQL", *(f"{mode}-{side}" for mode, side in PAIRS if ALL)])
def other(
    made: Made, tmp_path: Path, settings: Settings, on_sqlite: Backend, request: pytest.FixtureRequest
) -> Iterator[Backend]:
    """What answers as SQLite alone does, and holds the same rows afterwards: PostgreSQL alone, a pair in each mode."""
    assert on_sqlite.engine
    if request.param == "PostgreSQL":
        backend: Backend = request.getfixturevalue("on_postgres")
        yield backend
        assert backend.engine and stored(backend.engine) == stored(on_sqlite.engine)
        return
    mode, _, primary = request.param.partition("-")
    with dual(made, tmp_path / "pair.db", DualWrite(mode), Side(primary)) as found:
        yield found.backend
        found.pair.drain()
        assert found.pair.pg.execute("SELECT tbl, k, reason FROM st_quarantine").fetchall() == []
        for side in Side:
            assert stored(found.engine(side)) == stored(on_sqlite.engine)


@pytest.fixture
def compare(made: Made, settings: Settings, clock: Clock) -> Iterator[Callable[..., Twins]]:
    """Logs the backends in and puts them side by side."""
    with contextlib.ExitStack() as stack:

        def start(*backends: Backend) -> Twins:
            for backend in backends:
                stack.enter_context(backend.running())
            log_in(backends, create_session_token(settings, made.user_id))
            return Twins(backends, clock)

        yield start
