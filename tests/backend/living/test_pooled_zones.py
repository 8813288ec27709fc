"""Instants through Debian's PgBouncer, with one zone stored for the database and another for the role.

A session of the server begins in the zone of its role then, and serves one client after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url
from sqlalchemy.orm import Session

from app.db.common.settings import ShimSettings
from app.db.revisions.chain import upgrade_head
from app.db.session.engines import make_engine
from loadtests.stage.embedded import EmbeddedPostgres
from tests.backend.living import test_time as times
from tests.backend.living.conftest import Store
from tests.operator.deploy.conftest import make_roles
from tests.operator.deploy.servers import execute, pgbouncer
from tests.support.pairs import connect
from tests.support.programs import find

pytestmark = pytest.mark.needs_program("pgbouncer")
_TABLES = "strategy_deployments", "orders", "alerts", "strategies", "candles", "system_events", "users"


@pytest.fixture(scope="module")
def through_pooler() -> Iterator[str]:
    with EmbeddedPostgres(light=True) as cluster:  # roles belong to the whole cluster
        yield from _pooled(cluster)


def _pooled(cluster: EmbeddedPostgres) -> Iterator[str]:
    make_roles(cluster)
    direct = cluster.url("sigma", user="sigma_owner")
    upgrade_head(direct)
    stored = (
        "DATABASE sigma SET timezone = 'Asia/Kolkata'",
        "ROLE sigma_owner SET timezone = 'America/New_York'",
    )
    execute(cluster.url(), [f"ALTER {zone}" for zone in stored])
    binary = find("pgbouncer")
    assert binary is not None
    with pgbouncer(binary, cluster, ["sigma_owner"]) as (port, _log):
        pooled = direct.replace(f":{cluster.port}/", f":{port}/")
        with connect(pooled, prepare_threshold=None) as session:
            assert session.execute("SHOW timezone").fetchone() == ("America/New_York",)
        yield pooled


@pytest.fixture
def abroad(through_pooler: str, tmp_path: Path) -> Iterator[Store]:
    engine = make_engine(make_url(through_pooler), ShimSettings(pg_pooler="transaction"))
    yield Store(through_pooler, engine, lambda: Session(engine), tmp_path / "archive", lambda: None)
    engine.dispose()


def _emptied(store: Store) -> Store:
    with store.engine.begin() as connection:
        for table in _TABLES:
            connection.exec_driver_sql(f"DELETE FROM {table}")
    return store


def test_times_read_the_same_through_a_pooler(abroad: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    times.test_what_is_stored_comes_back_and_is_found_by_time(_emptied(abroad))
    times.test_the_servers_own_now_is_utc(_emptied(abroad))
    times.test_a_delivery_is_the_same_instant_from_the_door_to_the_archive(_emptied(abroad), monkeypatch)
