"""More of what runs in the application: orders that go to a broker, by hand and by workers, paper orders, retention.

Each works on the filled database, with a broker that answers at once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

from sqlalchemy import select

from app.core.config import Settings, get_settings
from app.core.time_utils import utc_now
from app.models import Alert, BrokerConnection, Order
from app.retention import archive
from app.retention.restore import restore
from app.retention.run import Retention
from app.services.brokers.clients import CLIENT_FACTORIES
from app.services.brokers.outside import OUTSIDE
from app.services.orders.paper_fills import fill_reached_orders
from app.services.orders.sending.jobs import ORDERS
from app.services.shared.jobs.claim import claim, take_over
from app.services.webhook.door.outside.queued import OrderWork
from app.services.webhook.settings.routing import TradingViewWebhookConfig, set_tradingview_webhook_config
from loadtests.traffic.payloads import SHAPES
from loadtests.traffic.signals import Signals
from tests.backend.api.fake_broker import FakeBroker
from tests.backend.api.hot.hot_paths import SECRET, USER_ID, USERNAME, Sessions, TestClient
from tests.backend.api.hot.hot_rows import FIRST_DAY

ORDER = {
    "symbol": "NSE:S1",
    "exchange": "NSE",
    "side": "BUY",
    "qty": 1,
    "order_type": "MARKET",
    "product": "CNC",
}


@contextmanager
def broker(sessions: Sessions) -> Iterator[FakeBroker]:
    """A connected Zerodha while the market is open."""
    fake = FakeBroker()
    with sessions() as db:
        mine = BrokerConnection.user_id == USER_ID
        if db.scalar(select(BrokerConnection.id).where(mine)) is None:
            db.add(BrokerConnection(user_id=USER_ID, broker_name="zerodha", access_token_encrypted="x"))
            db.commit()
    factories = mock.patch.dict(CLIENT_FACTORIES, {"zerodha": lambda _settings, _connection: fake})
    with factories, mock.patch.object(OUTSIDE, "market_is_open", lambda: True):
        yield fake


def by_hand(client: TestClient, sessions: Sessions) -> None:
    with broker(sessions) as fake:
        order = client.post("/api/orders/", json=ORDER).raise_for_status().json()
        client.post(f"/api/orders/{order['id']}/execute").raise_for_status()
        assert len(fake.placed) == 1
        client.post("/api/orders/sync").raise_for_status()
        fake.refusals = ["margin"]
        refused = client.post("/api/orders/", json=ORDER).raise_for_status().json()
        client.post(f"/api/orders/{refused['id']}/execute")
        client.post(f"/api/orders/{refused['id']}/move-to-waiting").raise_for_status()


def auto(client: TestClient, sessions: Sessions) -> None:
    """Deliveries whose orders go to the broker: while the sender waits, and by a worker."""
    settings = get_settings()
    with broker(sessions) as fake, sessions() as db:
        set_tradingview_webhook_config(db, settings, TradingViewWebhookConfig(mode="AUTO"))
        _deliver(client)
        assert len(fake.placed) == 1
        with mock.patch.object(settings, "webhook_dispatch", "queue"):
            _deliver(client)
            work(client, sessions)
        assert len(fake.placed) == 2
        fake.refusals = ["margin"]
        _deliver(client)
        set_tradingview_webhook_config(db, settings, TradingViewWebhookConfig())


def _deliver(client: TestClient) -> None:
    signals = Signals(f"auto{datetime.now(UTC).timestamp()}", [USERNAME], seed=1)
    request = SHAPES[0].write(signals.next()[0], SECRET)
    headers = {"Content-Type": request.content_type, **request.headers}
    client.post("/webhook/tradingview", content=request.body, headers=headers).raise_for_status()


def work(client: TestClient, sessions: Sessions) -> None:
    """A worker's turn, and a look at the queues."""
    with sessions() as db:
        take_over(db, ORDERS)
        ids = claim(db, ORDERS, "hot", 20)
        db.commit()
    for job in ids:
        OrderWork(sessions, get_settings())(job, "hot")
    for page in ("/api/jobs/", "/api/jobs/orders/dead", "/api/jobs/deployments/dead"):
        client.get(page).raise_for_status()
    dead = client.get("/api/jobs/orders/dead?limit=1").json()[0]
    client.post(f"/api/jobs/orders/{dead['id']}/repeat")


def paper(client: TestClient, sessions: Sessions) -> None:
    with sessions() as db:
        db.add(Order(symbol="NSE:S1", side="BUY", qty=1, status="SENT", simulated=True, user_id=USER_ID))
        db.commit()
        assert fill_reached_orders(db, FakeBroker()) == 1


def goes(client: TestClient, sessions: Sessions) -> None:
    """A strategy is deleted, with an alert and an order of it."""
    strategy = (
        client.post("/api/strategies/", json={"name": f"s{utc_now().timestamp()}"}).raise_for_status().json()
    )
    with sessions() as db:
        alert = Alert(symbol="X", action="BUY", raw_payload="{}", strategy_id=strategy["id"])
        db.add(alert)
        db.flush()
        db.add(Order(symbol="X", side="BUY", qty=1, alert_id=alert.id, strategy_id=strategy["id"]))
        db.commit()
    client.delete(f"/api/strategies/{strategy['id']}").raise_for_status()


def retention(client: TestClient, sessions: Sessions) -> None:
    """The first rows grow old, go and come back."""
    now = datetime.fromisoformat(FIRST_DAY).replace(tzinfo=UTC) + timedelta(days=90, hours=3)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            _env_file=None,  # type: ignore[call-arg]  # pydantic's own, in no signature
            retention_dir=folder,
            retention_days="order_jobs=90,candles.1m=90",
        )
        result = Retention(sessions, settings, pause=lambda _seconds: None).run(now)
        assert result.error is None
        went = {name for name, rule in result.rules.items() if rule.rows}
        assert went == {"alerts", "alert_events", "system_events", "order_jobs", "candles.1m"}
        for path in archive.listed(Path(folder))[:2]:
            restore(sessions, path, Path(folder), now)
