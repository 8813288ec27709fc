"""Listings read a replica only while it is known to be young enough; whatever is wrong with it, they read the primary."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from app.core.replica import Replica
from app.db import Base, get_db
from app.db.common.settings import ShimSettings
from app.db.session.engines import make_engine
from app.main import app
from app.models import SystemEvent
from loadtests.stage.embedded import EmbeddedPostgres
from tests.operator.deploy.servers import make_replica
from tests.support.pairs import connect, wait_until

with warnings.catch_warnings():
    # Starlette's client works with httpx but announces that it will want httpx2.
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.simplefilter("ignore", UserWarning)
    from fastapi.testclient import TestClient

FOR_EVER = 600.0


class Scene:
    """A primary, its streaming replica, and the application on both."""

    def __init__(self, primary: EmbeddedPostgres, standby: EmbeddedPostgres) -> None:
        self.primary = primary
        self.standby = standby
        self.engine = make_engine(make_url(primary.url("sigma")), ShimSettings())
        self.sessions = sessionmaker(self.engine, autoflush=False, expire_on_commit=False)
        self.replica = Replica(standby.url("sigma"), FOR_EVER, self.sessions)
        self.client = TestClient(app)

    def write(self, message: str) -> None:
        with self.sessions() as db:
            db.add(SystemEvent(level="INFO", category="c", message=message))
            db.commit()

    def read(self) -> list[str]:
        """What the listing of events shows."""
        answer = self.client.get("/api/system-events/")
        assert answer.status_code == 200, answer.text
        return sorted(event["message"] for event in answer.json())

    def look_until_known(self) -> None:
        """Look at both servers until the replica has replayed what the primary had written."""
        started = time.monotonic()

        def known() -> bool:
            self.replica.look()
            return self.replica._as_of >= started

        wait_until(known, seconds=60)

    def replay(self, verb: str) -> None:
        with connect(self.standby.url()) as connection:
            connection.execute(f"SELECT pg_wal_replay_{verb}()".encode())

    def close(self) -> None:
        self.replica.stop()
        self.engine.dispose()


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with EmbeddedPostgres() as primary:
        maker = create_engine(primary.create_database("sigma"))
        Base.metadata.create_all(maker)
        maker.dispose()
        with make_replica(primary) as standby:
            with connect(primary.url()) as connection:  # a commit must not wait for a replica that is gone
                connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
                connection.execute("SELECT pg_reload_conf()")
                connection.execute("CHECKPOINT")
            found = Scene(primary, standby)

            def get_test_db() -> Iterator[Session]:
                with found.sessions() as session:
                    yield session

            app.dependency_overrides[get_db] = get_test_db
            app.state.replica = found.replica
            yield found
            app.state.replica = None
            app.dependency_overrides.clear()
            found.close()


def test_a_thread_keeps_the_age_known(scene: Scene) -> None:
    """Nobody can tell without the primary: the replica only grows older then."""
    away = threading.Event()

    def primary() -> Session:
        if away.is_set():
            raise OperationalError("SELECT", {}, Exception("away"))
        return scene.sessions()

    replica = Replica(scene.standby.url("sigma"), 2.0, primary)
    replica.start()
    try:
        wait_until(lambda: replica.staleness_s < 2.0, seconds=60)
        away.set()
        wait_until(lambda: replica.staleness_s > 2.0, seconds=60)
    finally:
        replica.stop()


def test_a_replica_of_something_else_is_not_read(
    scene: Scene, tmp_path: Path, postgres_server: EmbeddedPostgres
) -> None:
    others: list[Any] = [
        make_engine(make_url(f"sqlite:///{tmp_path / 'x.db'}"), ShimSettings()),
        make_engine(make_url(postgres_server.url()), ShimSettings()),
    ]
    for engine in others:
        replica = Replica(scene.standby.url("sigma"), FOR_EVER, sessionmaker(engine))
        replica.look()
        assert replica.staleness_s == float("inf")
        with sessionmaker(engine)() as own, replica.session(own) as found:
            assert found is own
        replica.stop()
        engine.dispose()


def test_what_the_replica_ends_is_read_from_the_primary(scene: Scene) -> None:
    """A lock that is replayed ends the listing there, in the middle of its request."""
    scene.write("kept")
    scene.look_until_known()
    with connect(scene.standby.url()) as connection:
        connection.execute("ALTER SYSTEM SET max_standby_streaming_delay = 0")
        connection.execute("SELECT pg_reload_conf()")
    count = "SELECT count(*) FROM system_events"
    with scene.sessions() as own, scene.replica.session(own) as found:
        assert found is not own
        assert found.scalar(text(count)) == 1
        with connect(scene.primary.url("sigma")) as connection:
            connection.execute("BEGIN; LOCK TABLE system_events; COMMIT")
        seen = "SELECT count(*) FROM pg_stat_database_conflicts WHERE confl_lock > 0"
        with connect(scene.standby.url()) as connection:
            wait_until(lambda: connection.execute(seen.encode()).fetchone() != (0,), seconds=60)
        assert found.scalar(text(count)) == 1
        assert found.scalar(text("SELECT pg_is_in_recovery()")) is False
    assert scene.replica.staleness_s < FOR_EVER  # the replica goes on
    with scene.sessions() as own:
        own.execute(text("DELETE FROM system_events"))
        own.commit()


def test_a_full_pool_is_no_lost_replica(scene: Scene) -> None:
    """Listings that hold every connection let others read the primary, and the looks go on."""
    scene.look_until_known()
    with ExitStack() as held, scene.sessions() as own:
        for _ in range(2 * ShimSettings().pg_pool_size):
            assert held.enter_context(scene.replica.session(own)) is not own
        assert held.enter_context(scene.replica.session(own)) is own
        scene.look_until_known()
        assert scene.replica.staleness_s < FOR_EVER
    with scene.sessions() as own, scene.replica.session(own) as found:
        assert found is not own


def test_listings_read_a_replica_that_is_young_enough_and_nothing_else(scene: Scene) -> None:
    scene.write("first")
    assert scene.read() == ["first"]  # nobody has looked yet: the primary
    scene.look_until_known()
    scene.replay("pause")
    scene.write("second")
    assert scene.read() == ["first"]  # the replica, as it was known a moment ago

    known = scene.replica._as_of
    for _ in range(3):
        scene.replica.look()
    assert scene.replica._as_of == known  # it has not replayed the second event: it only grows older
    scene.replica._limit_s = 0.001
    assert scene.read() == ["first", "second"]  # further behind than the limit: the primary

    scene.replica._limit_s = FOR_EVER
    scene.replay("resume")
    scene.look_until_known()
    scene.replay("pause")
    scene.write("third")
    assert scene.read() == ["first", "second"]  # the replica again, with all that was known to be replayed
    scene.replay("resume")

    with connect(scene.standby.url()) as connection:
        connection.execute("SELECT pg_promote()")
    scene.replica.look()
    assert scene.read() == ["first", "second", "third"]  # it follows nobody any more
    assert scene.replica.staleness_s == float("inf")

    scene.replica._as_of = time.monotonic()  # known as young, and away before the next look
    scene.standby.stop()
    assert scene.read() == ["first", "second", "third"]
