"""The primary server is killed and its replica promoted: backends with a URL of both hosts go on, and so does a switch.

The replica is a streaming one made by pg_basebackup, synchronous, so what was acknowledged is on both servers.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from app.db.common.errors import SwitchError
from app.db.common.failpoints import Failpoint, arm
from app.db.common.urls import Side
from loadtests.stage.embedded import EmbeddedPostgres
from tests.operator.deploy.conftest import Backend, Migrate, count_alerts, write_alert
from tests.operator.deploy.servers import make_replica
from tests.support.pairs import connect, wait_until

STEPS = [point for point in Failpoint if point.startswith("switch.")]
VERB = {Side.POSTGRES: "cutover", Side.SQLITE: "rollback"}


@pytest.fixture
def servers() -> Iterator[tuple[EmbeddedPostgres, EmbeddedPostgres]]:
    """A server with a replica that has confirmed what the server acknowledged."""
    with EmbeddedPostgres() as primary:
        primary.create_database("sigma")
        with make_replica(primary) as replica:
            yield primary, replica


def both(primary: EmbeddedPostgres, replica: EmbeddedPostgres) -> str:
    """One URL that names both servers and wants the one that takes writes."""
    hosts = "&".join(f"host=127.0.0.1:{server.port}" for server in (primary, replica))
    user = primary.url("sigma").partition("@")[0]
    return f"{user}@/sigma?{hosts}&target_session_attrs=read-write"


def promote(primary: EmbeddedPostgres, replica: EmbeddedPostgres) -> None:
    primary.stop(signal.SIGQUIT)
    with connect(replica.url("sigma")) as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
        assert connection.execute("SELECT pg_promote(), pg_reload_conf()").fetchone() == (True, True)


def test_a_backend_goes_on_with_the_promoted_replica(
    servers: tuple[EmbeddedPostgres, EmbeddedPostgres],
    migrate: Migrate,
    backend: Backend,
    sqlite_path: Path,
) -> None:
    primary, replica = servers
    url = both(primary, replica)
    assert migrate(url, "run", "--cutover", "--max-pause-ms", "20000").outcome == (0, "moved")
    current = backend(url, wanted=Side.POSTGRES, dual_write="sync")
    write_alert("BEFORE")
    promote(primary, replica)

    def written() -> bool:
        try:
            write_alert("AFTER")
        except OperationalError:
            return False  # a connection that broke on the way; the caller sends the request again
        return True

    wait_until(written)
    assert (count_alerts("BEFORE"), count_alerts("AFTER")) == (1, 1)
    wait_until(lambda: current.replicator.health().error is None and not current.replicator.health().degraded)

    assert migrate(url, "verify").outcome == (0, "clean")
    assert migrate(url, "rollback", "--max-pause-ms", "20000").outcome == (0, "moved")
    assert (count_alerts("BEFORE"), count_alerts("AFTER")) == (1, 1)
    assert current.primary() is Side.SQLITE


@pytest.mark.long
def test_the_backlog_reaches_the_promoted_shadow(
    servers: tuple[EmbeddedPostgres, EmbeddedPostgres], migrate: Migrate, backend: Backend
) -> None:
    """While SQLite is primary a failover of PostgreSQL costs no write."""
    url = both(*servers)
    assert migrate(url, "run").outcome == (0, "ready")
    current = backend(url, dual_write="sync", dual_write_timeout_ms=300)
    write_alert("BEFORE")
    servers[0].stop(signal.SIGQUIT)
    for _ in range(5):
        write_alert("AWAY")
    promote(*servers)
    write_alert("AFTER")

    def followed() -> bool:
        health = current.replicator.health()
        return health.error is None and not health.degraded and health.lag_changes == 0

    wait_until(followed, seconds=60)
    assert migrate(url, "verify").outcome == (0, "clean")
    with connect(servers[1].url("sigma")) as connection:
        found = "SELECT symbol, count(*) FROM alerts WHERE symbol <> 'TCS' GROUP BY 1"
        assert dict(connection.execute(found).fetchall()) == {"BEFORE": 1, "AWAY": 5, "AFTER": 1}


@pytest.mark.long
@pytest.mark.parametrize("to", list(Side))
@pytest.mark.parametrize("point", STEPS)
def test_the_primary_dies_in_a_step_of_a_switch(
    point: Failpoint,
    to: Side,
    servers: tuple[EmbeddedPostgres, EmbeddedPostgres],
    migrate: Migrate,
    backend: Backend,
) -> None:
    """The same command, and `recover` where it asks for it, end the switch on the promoted server; nothing is lost."""
    url = both(*servers)
    assert migrate(url, "run").outcome == (0, "ready")
    if to is Side.SQLITE:
        assert migrate(url, "cutover", "--max-pause-ms", "20000").outcome == (0, "moved")
    current = backend(url, wanted=to.other, dual_write="sync")
    write_alert("BEFORE")
    died: list[bool] = []

    def die() -> None:
        if not died:
            died.append(True)
            promote(*servers)

    with arm(point, die):
        told = [migrate(url, VERB[to], "--max-pause-ms", "20000").outcome]

    def moved() -> bool:
        if told[-1][1] not in ("moved", "already_primary"):
            migrate(url, "recover")
            told.append(migrate(url, VERB[to], "--max-pause-ms", "20000").outcome)
        return told[-1][1] in ("moved", "already_primary")

    assert died
    wait_until(moved, seconds=90)

    def written() -> bool:
        try:
            write_alert("AFTER")
        except (OperationalError, SwitchError):
            return False
        return True

    wait_until(written, seconds=60)
    assert current.primary() is to, told
    assert (count_alerts("BEFORE"), count_alerts("AFTER")) == (1, 1)
    wait_until(
        lambda: current.replicator.health().error is None and not current.replicator.health().degraded,
        seconds=60,
    )
    assert migrate(url, "verify").outcome == (0, "clean"), told
