"""The server itself suffers: restarted, crashed, read-only, out of connections, out of disk, too slow.

Whatever it answers, commits on SQLite go on, the log drains by itself afterwards, and nothing differs.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError

from app.db.common.errors import PrimaryUnavailable
from app.db.common.urls import Side
from loadtests.stage.embedded import EmbeddedPostgres
from tests.core.outage.through_proxy import names, settled, write
from tests.support.backends import MakeRuntime
from tests.support.dying.perishable import small_file_system
from tests.support.pairs import TestPair, new_sqlite, wait_until


def _keep_writing(current: object, pair: TestPair, count: int = 10) -> None:
    for n in range(count):
        write(f"away {n:02d}")
    held = names(pair, Side.SQLITE)
    assert all(f"away {n:02d}" in held for n in range(count))


def _errs(current: object) -> bool:
    return current.replicator.health().error is not None


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
def test_restarted_as_shadow(
    victim: TestPair, mortal: EmbeddedPostgres, backend: MakeRuntime, how: signal.Signals
) -> None:
    current = backend(victim, dual_write_timeout_ms=300)
    write("before")
    mortal.stop(how)
    victim.forget_pg()
    _keep_writing(current, victim)
    wait_until(lambda: _errs(current))
    mortal.start()
    settled(current, victim, "away 09")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
def test_restarted_as_primary(
    victim: TestPair, mortal: EmbeddedPostgres, backend: MakeRuntime, how: signal.Signals
) -> None:
    """While it is away a request fails and SQLite takes nothing; afterwards it serves without help."""
    victim.moved(Side.POSTGRES)
    current = backend(victim, wanted=Side.POSTGRES)
    write("before")
    mortal.stop(how)
    victim.forget_pg()
    with pytest.raises(DBAPIError):
        write("refused")
    assert victim.lite.execute("SELECT writable FROM st_control").fetchone()[0] == 0
    mortal.start()
    write("after")
    settled(current, victim, "after")
    assert "before" in names(victim, Side.POSTGRES)
    assert "refused" not in names(victim, Side.POSTGRES)


def _set(pair: TestPair, setting: str) -> None:
    """For every new connection to this database; those that there are go."""
    pair.pg.execute(f"ALTER DATABASE {pair.pair.postgres.database} {setting}".encode())
    pair.pg.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid()"
    )


@pytest.mark.parametrize(
    ("setting", "value"), [("default_transaction_read_only", "on"), ("statement_timeout", "1ms")]
)
def test_a_setting_that_makes_every_round_fail_as_shadow(
    victim: TestPair, backend: MakeRuntime, setting: str, value: str
) -> None:
    """Read-only, as after a failover to a standby, and a statement time-out that nothing meets."""
    current = backend(victim, dual_write_timeout_ms=300)
    write("before")
    _set(victim, f"SET {setting} = '{value}'")
    victim.lite.execute(
        "INSERT INTO kinds (t) SELECT hex(randomblob(2000)) FROM item, item b, item c, item d"
    )
    _keep_writing(current, victim)
    wait_until(lambda: _errs(current))
    _set(victim, f"RESET {setting}")
    victim.forget_pg()
    settled(current, victim, "away 09")


def test_read_only_as_primary(victim: TestPair, backend: MakeRuntime) -> None:
    victim.moved(Side.POSTGRES)
    current = backend(victim, wanted=Side.POSTGRES)
    write("before")
    _set(victim, "SET default_transaction_read_only = 'on'")
    wait_until(lambda: _refused_as_read_only())
    assert victim.lite.execute("SELECT writable FROM st_control").fetchone()[0] == 0
    _set(victim, "RESET default_transaction_read_only")
    victim.forget_pg()
    wait_until(lambda: _written(victim, "after"))
    settled(current, victim, "after")


def _refused_as_read_only() -> bool:
    try:
        write("refused")
    except DBAPIError as error:
        return getattr(error.orig, "sqlstate", None) == "25006"
    return False


def _written(pair: TestPair, name: str) -> bool:
    """Written now, or by an attempt that was told to come back although PostgreSQL had its commit."""
    try:
        write(name)
    except (DBAPIError, PrimaryUnavailable):
        return name in names(pair, Side.POSTGRES)
    return True


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Callable[..., EmbeddedPostgres]]:
    """Makes a server with settings of its own."""
    made: list[EmbeddedPostgres] = []

    def make(base: Path | None = None, **settings: str) -> EmbeddedPostgres:
        made.append(EmbeddedPostgres(base, settings=settings, light=True))
        return made[-1].start()

    yield make
    for server in made:
        server.close()


PairOn = Callable[[EmbeddedPostgres], TestPair]


@pytest.fixture
def pair_on(own_server: Callable[..., EmbeddedPostgres], tmp_path: Path) -> Iterator[PairOn]:
    """Makes a copied pair on a server of the test's own."""
    made: list[TestPair] = []

    def make(server: EmbeddedPostgres) -> TestPair:
        path = tmp_path / "app.db"
        new_sqlite(path)
        made.append(TestPair(path, server.create_database("lonely")))
        made[-1].prepare()
        made[-1].backfill()
        return made[-1]

    yield make
    for pair in made:
        pair.close()


def test_out_of_connections(
    own_server: Callable[..., EmbeddedPostgres], pair_on: PairOn, backend: MakeRuntime
) -> None:
    """Strangers have taken them all: as shadow it waits its turn, as primary the request fails and says why."""
    server = own_server(max_connections="12", superuser_reserved_connections="0", max_wal_senders="0")
    pair = pair_on(server)
    current = backend(pair, dual_write_timeout_ms=300, pg_pool_size=1)
    write("before")
    pair.close()
    with _all_taken(server) as take_again:
        _keep_writing(current, pair)
        wait_until(lambda: take_again() or "too many" in (current.replicator.health().error or ""))
    settled(current, pair, "away 09")

    pair.moved(Side.POSTGRES)
    write("on postgres")
    current.stop()
    pair.close()
    with _all_taken(server), pytest.raises(DBAPIError, match="too many"):
        write("refused")
    current.start()
    write("after")
    settled(current, pair, "after")
    assert "refused" not in names(pair, Side.POSTGRES)


@contextmanager
def _all_taken(server: EmbeddedPostgres) -> Iterator[Callable[[], None]]:
    """Strangers have every connection; what this yields takes those that somebody was fast enough to get."""
    taken: list[psycopg.Connection[Any]] = []

    def take() -> None:
        with suppress(psycopg.OperationalError):
            while True:
                taken.append(psycopg.connect(server.dsn(), autocommit=True))

    def take_again() -> None:
        taken[0].execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> ALL(%s)",
            ([connection.info.backend_pid for connection in taken],),
        )
        take()

    take()
    take_again()
    try:
        yield take_again
    finally:
        for connection in taken:
            connection.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that fills up quickly."""
    with small_file_system(tmp_path / "disk", "size=300m,mode=755") as mount:
        yield mount


def _fill(mount: Path) -> Path:
    """Take what is left of a file system, whoever else is writing there."""
    ballast = mount / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(65536))
    return ballast


def test_disk_full_as_shadow_and_as_primary(
    own_server: Callable[..., EmbeddedPostgres], small_disk: Path, pair_on: PairOn, backend: MakeRuntime
) -> None:
    """The server refuses, or panics for want of log space and comes back: nothing is lost either way."""
    for parent in small_disk.parents[:4]:
        parent.chmod(parent.stat().st_mode | 0o011)  # so that the server's user may enter
    server = own_server(
        small_disk / "pg", shared_buffers="16MB", max_wal_size="32MB", min_wal_size="32MB", wal_recycle="off"
    )
    pair = pair_on(server)
    current = backend(pair, dual_write_timeout_ms=300)
    write("before")
    ballast = _fill(small_disk)
    pair.lite.execute("INSERT INTO kinds (bl) SELECT randomblob(8000) FROM item, item b, item c, item d")
    _keep_writing(current, pair)
    wait_until(lambda: _errs(current))
    ballast.unlink()
    _revive(server)
    pair.forget_pg()
    settled(current, pair, "away 09")

    pair.moved(Side.POSTGRES)
    write("on postgres")
    ballast = _fill(small_disk)
    with pytest.raises(DBAPIError):
        for n in range(400):
            _write_much(n)
    assert pair.lite.execute("SELECT writable FROM st_control").fetchone()[0] == 0
    ballast.unlink()
    _revive(server)
    pair.forget_pg()
    wait_until(lambda: _written(pair, "after"))
    settled(current, pair, "after")
    assert "on postgres" in names(pair, Side.POSTGRES)


def _write_much(number: int) -> None:
    from sqlalchemy import text

    from app.db.session import SessionLocal

    with SessionLocal() as session:
        session.execute(text("INSERT INTO kinds (bl) VALUES (:bl)"), {"bl": os.urandom(400_000)})
        session.commit()


def _revive(server: EmbeddedPostgres) -> None:
    """What a service manager does after a panic; nothing if the server lived on."""
    if server._process is not None and server._process.poll() is not None:
        server._process = None
        server.start()
    else:
        server.wait_ready()
