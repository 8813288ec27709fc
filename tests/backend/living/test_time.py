"""Instants mean the same wherever the server is: naive UTC in the column, whatever zone the server lives in.

Each database has another zone as its default. Borders of days in UTC and in India, and both sides of each change
of the clocks in New York, go through the ORM, the server's own default, filters by time, retention and the API.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import make_url, select
from sqlalchemy.orm import Session

from app.api import paper
from app.api.system_events import SystemEventRead
from app.core.auth import SESSION_COOKIE_NAME, create_session_token
from app.core.config import get_settings
from app.core.time_utils import ist_naive_to_utc, to_ist_naive
from app.db import get_db
from app.db.common.settings import ShimSettings
from app.db.revisions.chain import upgrade_head
from app.db.session.engines import make_engine
from app.main import app
from app.models import Alert, Candle, Order, StrategyDeployment, StrategyDeploymentJob, SystemEvent
from app.retention import archive
from app.retention.run import Retention
from app.services.deployments.scheduler import enqueue_due_jobs_once
from loadtests.stage.embedded import EmbeddedPostgres
from tests.backend.api.api_values import CRYPTO_KEY, WEBHOOK_SECRET
from tests.backend.api.orders.jobs.job_rows import BUY
from tests.backend.differential.backends import Clock, TestClient
from tests.backend.living.conftest import Store
from tests.backend.living.rows import add_user

ZONES = ("UTC", "Asia/Kolkata", "America/New_York")
BORDERS = [
    datetime(2026, 3, 8, 6, 59, 59, 999_999, UTC),  # the last microsecond before New York's hour is left out
    datetime(2026, 3, 8, 7, 0, tzinfo=UTC),
    datetime(2026, 3, 8, 2, 30, tzinfo=UTC),  # digits that New York's clocks never show that day
    datetime(2026, 11, 1, 5, 30, tzinfo=UTC),  # 01:30 in New York, for the first time
    datetime(2026, 11, 1, 6, 30, tzinfo=UTC),  # and for the second
    datetime(2026, 6, 30, 18, 29, 59, 999_999, UTC),  # the last microsecond of a day in India
    datetime(2026, 6, 30, 18, 30, tzinfo=UTC),
    datetime(2026, 12, 31, 23, 59, 59, 999_999, UTC),
    datetime(2027, 1, 1, tzinfo=UTC),
]


@pytest.fixture(scope="module")
def server_database(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    url = postgres_server.create_database("zones")
    upgrade_head(url)
    yield url
    postgres_server.drop_database("zones")


@pytest.fixture(params=["sqlite", *ZONES])
def abroad(
    request: pytest.FixtureRequest, server_database: str, postgres_server: EmbeddedPostgres, tmp_path: Path
) -> Iterator[Store]:
    """A database whose server lives in a zone."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'zones.db'}"
        upgrade_head(url)
    else:
        url = server_database
        maker = sa.create_engine(postgres_server.url(), isolation_level="AUTOCOMMIT")
        with maker.connect() as connection:
            connection.exec_driver_sql(f"ALTER DATABASE zones SET timezone = '{request.param}'")
        maker.dispose()
    # Through a pooler a session begins with the zone of the role, or with one that another session left behind.
    engine = make_engine(make_url(url), ShimSettings(pg_pooler="transaction"))

    def empty() -> None:
        with engine.begin() as connection:
            for table in (
                "strategy_deployments",
                "orders",
                "alerts",
                "strategies",
                "candles",
                "system_events",
                "users",
            ):
                connection.exec_driver_sql(f"DELETE FROM {table}")

    empty()
    yield Store(url, engine, lambda: Session(engine), tmp_path / "archive", empty)
    empty()
    engine.dispose()


def test_what_is_stored_comes_back_and_is_found_by_time(abroad: Store) -> None:
    with abroad.sessions() as db:
        for at in BORDERS:
            db.add(Alert(symbol="X", action="BUY", raw_payload="{}", received_at=at, bar_time=at))
        db.commit()
    with abroad.sessions() as db:
        read = db.execute(select(Alert.received_at, Alert.bar_time).order_by(Alert.id)).all()
        assert [row.received_at for row in read] == BORDERS
        assert [row.bar_time for row in read] == [at.replace(tzinfo=None) for at in BORDERS]
        for at in BORDERS:
            before = db.scalars(select(Alert.received_at).where(Alert.received_at < at)).all()
            assert sorted(before) == sorted(other for other in BORDERS if other < at)
        digits = db.connection().exec_driver_sql(
            "SELECT CAST(received_at AS varchar(40)) FROM alerts ORDER BY id"
        )
        assert [text[:19] for text in digits.scalars()] == [f"{at:%Y-%m-%d %H:%M:%S}" for at in BORDERS]


def test_the_servers_own_now_is_utc(abroad: Store) -> None:
    with abroad.sessions() as db:
        db.execute(sa.text("INSERT INTO system_events (level, category, message) VALUES ('INFO', 'c', 'm')"))
        db.commit()
        stored = db.scalar(select(SystemEvent.created_at))
    assert stored is not None
    assert abs(stored - datetime.now(UTC)) < timedelta(minutes=5)


def test_an_answer_shows_the_same_instant(abroad: Store) -> None:
    with abroad.sessions() as db:
        for at in BORDERS:
            db.add(SystemEvent(level="INFO", category="c", message="m", created_at=at))
        db.commit()
        shown = [
            SystemEventRead.model_validate(event).model_dump(mode="json")["created_at"]
            for event in db.scalars(select(SystemEvent).order_by(SystemEvent.id))
        ]
    assert [datetime.fromisoformat(text) for text in shown] == BORDERS


def test_retention_cuts_at_the_same_instant(abroad: Store) -> None:
    cut = datetime(2026, 11, 1, 6, 30, tzinfo=UTC)
    with abroad.sessions() as db:
        for at in (cut - timedelta(microseconds=1), cut, cut + timedelta(days=1)):
            db.add(SystemEvent(level="INFO", category="c", message="m", created_at=at))
            db.add(Alert(symbol="X", action="BUY", raw_payload="{}", received_at=at))
        db.commit()
    settings = abroad.settings(retention_days="alerts=30,system_events=30")
    result = Retention(abroad.sessions, settings, pause=lambda _: None).run(cut + timedelta(days=30))
    assert (result.rules["alerts"].rows, result.rules["system_events"].rows) == (1, 1)
    with abroad.sessions() as db:
        assert min(db.scalars(select(Alert.received_at))) == cut


@pytest.mark.parametrize("day", [datetime(2026, 3, 9), datetime(2026, 11, 2)], ids=["spring", "autumn"])
def test_bars_are_closed_by_indian_time(abroad: Store, day: datetime) -> None:
    """A Monday after a change of the clocks elsewhere: the first bar of the session ends at 09:20 in India."""
    first = day.replace(hour=9, minute=20)
    with abroad.sessions() as db:
        user = add_user(db)
        db.add(
            StrategyDeployment(
                owner_id=user, name="d", kind="STRATEGY", enabled=True, symbol="X", exchange="NSE",
                timeframe="5m", config_json="{}",
            )
        )  # fmt: skip
        db.commit()
        now = ist_naive_to_utc(first) + timedelta(seconds=6)
        enqueue_due_jobs_once(db, abroad.settings(), now_utc=now)
        db.commit()
    with abroad.sessions() as db:
        assert db.scalars(select(StrategyDeploymentJob.scheduled_for)).all() == [ist_naive_to_utc(first)]


class _Prices:
    def last_price(self, _exchange: str, _symbol: str) -> float:
        return 1.0


@pytest.mark.parametrize("day", [datetime(2026, 3, 9), datetime(2026, 11, 2)], ids=["spring", "autumn"])
def test_paper_orders_are_filled_in_the_hours_of_the_market(
    abroad: Store, day: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first and the last moment of the session in India, and the one before and behind."""
    monkeypatch.setattr(paper, "price_client", lambda *_: _Prices())
    tick = timedelta(microseconds=1)
    opens, closes = (
        ist_naive_to_utc(day.replace(hour=at, minute=minute)) for at, minute in ((9, 15), (15, 31))
    )
    moments = {opens - tick: 0, opens: 1, closes - tick: 1, closes: 0}
    with served(abroad, monkeypatch) as (client, clock), abroad.sessions() as db:
        for at, filled in moments.items():
            order = Order(
                symbol="X", side="BUY", qty=1, price=2, order_type="LIMIT", status="SENT", simulated=True
            )
            db.add(order)
            db.commit()
            clock.now = at.replace(tzinfo=None)
            assert client.post("/api/paper/poll").json() == {"filled_orders": filled}
            db.refresh(order)
            assert (order.status, order.updated_at == at) == (("SENT", "EXECUTED")[filled], bool(filled))
            db.delete(order)
            db.commit()
        told = db.scalars(select(SystemEvent.created_at).where(SystemEvent.category == "paper"))
        assert sorted(told) == [opens, closes - tick]


def test_a_candle_keeps_the_digits_of_the_exchange(abroad: Store) -> None:
    at = to_ist_naive(BORDERS[3])
    with abroad.sessions() as db:
        prices = {"open": 1, "high": 1, "low": 1, "close": 1}
        db.add(Candle(symbol="X", exchange="NSE", timeframe="1m", ts=at, **prices))
        db.commit()
    with abroad.sessions() as db:
        assert db.scalars(select(Candle.ts)).all() == [at]


def test_a_delivery_is_the_same_instant_from_the_door_to_the_archive(
    abroad: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moments come in the market's zone."""
    india = timezone(timedelta(hours=5, minutes=30))
    with served(abroad, monkeypatch) as (client, clock):
        for number, at in enumerate(BORDERS):
            clock.now = at.replace(tzinfo=None)
            body = BUY | {"st_user_id": "keeper", "order_id": str(number)}
            body |= {"bar_time": at.astimezone(india).isoformat()}
            assert client.post("/webhook/tradingview", json=body).status_code == 201
        listed = client.get("/api/tv-alerts").raise_for_status().json()
        orders = client.get("/api/orders/").raise_for_status().json()
    newest = sorted(BORDERS, reverse=True)
    assert [_instant(row["received_at"]) for row in listed] == newest
    assert sorted(_instant(row["created_at"]) for row in orders) == newest[::-1]
    wall = [at.astimezone(india).replace(tzinfo=None) for at in newest]
    assert [datetime.fromisoformat(row["bar_time"]) for row in listed] == wall
    with abroad.sessions() as db:
        for order in db.scalars(select(Order)):
            order.status = "EXECUTED"
        db.commit()
    Retention(abroad.sessions, abroad.settings(), pause=lambda _: None).run(newest[0] + timedelta(days=9999))
    found = [
        archive.read(path, Alert.__table__) for path in archive.listed(abroad.folder) if "alerts" in path.name
    ]
    rows = {line.row["received_at"]: line.row["bar_time"] for one in found for line in one.lines}
    newest_row = BORDERS[-1]  # it stays, as the row with the highest id
    assert rows == {at: bar for at, bar in zip(newest, wall, strict=True) if at != newest_row}


@contextmanager
def served(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[TestClient, Clock]]:
    """A logged-in client of a process that lives in New York's zone, and the clock of that process."""
    settings, clock = get_settings(), Clock()
    monkeypatch.setattr(settings, "tradingview_webhook_secret", WEBHOOK_SECRET)
    monkeypatch.setattr(settings, "crypto_key", CRYPTO_KEY)
    monkeypatch.setitem(app.dependency_overrides, get_db, lambda: (yield from _session(store)))
    with store.sessions() as db:
        user = add_user(db)
        db.commit()
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    here, there = clock.patched()
    try:
        with here, there:
            client = TestClient(app)
            client.cookies.set(SESSION_COOKIE_NAME, create_session_token(settings, user))
            yield client, clock
    finally:
        monkeypatch.undo()
        time.tzset()


def _session(store: Store) -> Iterator[Session]:
    with store.sessions() as db:
        yield db


def _instant(shown: str) -> datetime:
    found = datetime.fromisoformat(shown)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
