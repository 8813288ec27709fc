"""The leader dies, freezes, is cut off, and hands over, under webhooks: nothing acknowledged is lost, and the backend goes on.

Minutes of both cores, and programs that only some machines have: it runs with `-m long`. Deliveries that were
not answered 201 are sent again, as TradingView does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from app.db.common.errors import SwitchError
from app.db.common.urls import Side
from app.db.revisions.chain import upgrade_head
from loadtests.stage.embedded import free_port
from tests.operator.deploy.conftest import Backend, Migrate, count_alerts, write_alert
from tests.operator.deploy.ha.cluster import Cluster
from tests.support.pairs import connect, wait_until

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(900),
    *(pytest.mark.needs_program(name) for name in ("patroni", "etcd", "haproxy", "pgbouncer")),
]

ROOT = Path(__file__).resolve().parents[4]
SECRET = "secret-of-a-test"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as made:
        maker = sa.create_engine(made.url(), isolation_level="AUTOCOMMIT")
        with maker.connect() as connection:
            connection.exec_driver_sql("CREATE DATABASE sigma TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'")
        maker.dispose()
        upgrade_head(made.url("sigma"))
        yield made


@contextmanager
def serving(cluster: Cluster, folder: Path, *, pooled: bool) -> Iterator[int]:
    """The web role on the cluster, through PgBouncer or not; yields its port."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ST_")} | {
        "ST_DATABASE_URL": cluster.url("sigma", pooled=pooled),
        "ST_PG_POOLER": "transaction" if pooled else "none",
        "ST_ENVIRONMENT": "prod",
        "ST_CRYPTO_KEY": "key-of-a-test",
        "ST_ADMIN_PASSWORD": "password-of-a-test",
        "ST_TRADINGVIEW_WEBHOOK_SECRET": SECRET,
        "PYTHONPATH": str(ROOT / "backend"),
    }
    with (folder / "backend.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.run", "web", "--port", str(port)],
            env=environment, stdout=log, stderr=log, cwd=folder,
        )  # fmt: skip
        try:
            wait_until(lambda: _status(port, "/health/ready") == 200, seconds=60)
            yield port
        finally:
            process.terminate()
            process.wait(30)


def _status(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0


class Deliveries:
    """One signal after another, each sent until it is answered 201."""

    def __init__(self, port: int, name: str) -> None:
        self._port = port
        self._name = name
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.acknowledged: dict[str, int] = {}
        self.answered_at = time.monotonic()
        self.longest = 0.0
        self.others: set[int] = set()

    def __enter__(self) -> Deliveries:
        self._thread.start()
        wait_until(lambda: len(self.acknowledged) >= 20, seconds=60)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait_for_more(self, seconds: float = 120) -> None:
        """Wait until deliveries are answered again."""
        before = len(self.acknowledged)
        wait_until(lambda: len(self.acknowledged) >= before + 20, seconds=seconds)

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            order = f"{self._name}-{number}"
            while not self._send(order) and not self._stop.wait(0.1):
                pass

    def _send(self, order: str) -> bool:
        body = {
            "secret": SECRET, "platform": "TRADINGVIEW", "st_user_id": "admin", "strategy_name": "ha",
            "symbol": "NSE:INFY", "exchange": "NSE", "order_id": order, "bar_time": "2026-01-02T09:15:00+05:30",
            "trade_details": {"order_action": "BUY", "quantity": 1, "price": 1},
        }  # fmt: skip
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/webhook/tradingview",
            data=json.dumps(body).encode(), headers={"Content-Type": "application/json"},
        )  # fmt: skip
        try:
            with urllib.request.urlopen(request, timeout=4) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            error.close()
            self.others.add(error.code)
            return False
        except OSError:
            self.others.add(0)
            return False
        self.acknowledged[order] = found["order_id"]
        now = time.monotonic()
        self.longest, self.answered_at = max(self.longest, now - self.answered_at), now
        return True


def _leader_dies(cluster: Cluster) -> Callable[[], None]:
    leader = cluster.leader()
    assert leader is not None
    leader.signal(signal.SIGKILL)
    return leader.start


def _leader_freezes(cluster: Cluster) -> Callable[[], None]:
    leader = cluster.leader()
    assert leader is not None
    leader.signal(signal.SIGSTOP)
    return lambda: leader.signal(signal.SIGCONT)


def _leader_is_cut_off(cluster: Cluster) -> Callable[[], None]:
    leader = cluster.leader()
    assert leader is not None
    leader.cut_off()
    began = time.monotonic()

    def led_by_another() -> bool:
        return any(node.says().get("role") == "primary" for node in cluster.nodes if node is not leader)

    def takes_writes() -> bool:
        """Asked past its wire."""
        try:
            with connect(leader.url(), connect_timeout=2) as connection:
                return connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)
        except psycopg.OperationalError:
            return False

    try:
        wait_until(lambda: not takes_writes() or led_by_another(), seconds=120)
        assert not led_by_another(), "two servers take writes"
    except BaseException:
        leader.connected_again()
        raise
    print(f"the leader that was cut off took no writes after {time.monotonic() - began:.1f} s")
    return leader.connected_again


def _leader_hands_over(cluster: Cluster) -> Callable[[], None]:
    cluster.switchover()
    return lambda: None


def _synchronous_standby_dies(cluster: Cluster) -> Callable[[], None]:
    standby = next(node for node in cluster.nodes if node.says().get("sync_standby"))
    standby.signal(signal.SIGKILL)
    return standby.start


@pytest.mark.parametrize(
    ("happens", "pooled"),
    [
        (_leader_hands_over, True),
        (_leader_dies, True),
        (_leader_dies, False),
        (_synchronous_standby_dies, True),
        (_leader_freezes, True),
        (_leader_is_cut_off, True),
        (_leader_is_cut_off, False),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else ("pgbouncer" if value else "haproxy"),
)
def test_nothing_acknowledged_is_lost(
    happens: Callable[[Cluster], Callable[[], None]], pooled: bool, cluster: Cluster, tmp_path: Path
) -> None:
    name = f"{happens.__name__}{pooled}"
    with serving(cluster, tmp_path, pooled=pooled) as port, Deliveries(port, name) as deliveries:
        come_back = happens(cluster)
        deliveries.wait_for_more()
        come_back()
        cluster.wait_healthy()
        deliveries.wait_for_more()
    assert deliveries.others <= {0, 503}, deliveries.others
    with connect(cluster.url("sigma")) as connection:
        stored = connection.execute(
            "SELECT raw_payload::json ->> 'order_id', o.id FROM orders o JOIN alerts a ON a.id = o.alert_id"
            " WHERE raw_payload::json ->> 'order_id' LIKE %s",
            (f"{name}-%",),
        ).fetchall()
    assert len(stored) == len(dict(stored))
    assert {order: dict(stored).get(order) for order in deliveries.acknowledged} == deliveries.acknowledged
    print(f"longest time without an answer: {deliveries.longest:.1f} s")


@pytest.mark.parametrize("pooled", [False, True], ids=["haproxy", "pgbouncer"])
def test_a_pair_goes_on_when_the_leader_dies_before_the_move_is_complete(
    pooled: bool,
    cluster: Cluster,
    migrate: Migrate,
    backend: Backend,
    sqlite_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once while SQLite is primary, once more when the cluster is."""
    monkeypatch.setenv("ST_PG_POOLER", "transaction" if pooled else "none")
    maker = sa.create_engine(cluster.url(), isolation_level="AUTOCOMMIT")
    with maker.connect() as connection:
        connection.exec_driver_sql("DROP DATABASE IF EXISTS pair WITH (FORCE)")
        connection.exec_driver_sql("CREATE DATABASE pair TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'")
    maker.dispose()
    url = cluster.url("pair", pooled=pooled)
    assert migrate(url, "run").outcome == (0, "ready")
    current = backend(url, dual_write="sync", pg_pooler="transaction" if pooled else "none")

    def in_step() -> bool:
        health = current.replicator.health()
        return health.error is None and not health.degraded and health.lag_changes == 0

    def written(symbol: str) -> bool:
        try:
            write_alert(symbol)
        except (OperationalError, SwitchError):
            return False  # the caller sends the request again
        return True

    write_alert("BEFORE")
    come_back = _leader_dies(cluster)
    write_alert("AWAY")  # SQLite takes it, whoever leads
    come_back()
    cluster.wait_healthy()
    wait_until(in_step, seconds=120)
    assert migrate(url, "verify").outcome == (0, "clean")
    assert migrate(url, "cutover", "--max-pause-ms", "20000").outcome == (0, "moved")
    come_back = _leader_dies(cluster)
    wait_until(lambda: written("AFTER"), seconds=120)
    come_back()
    cluster.wait_healthy()
    wait_until(in_step, seconds=120)
    symbols = ("BEFORE", "AWAY", "AFTER")
    assert [count_alerts(symbol) for symbol in symbols] == [1, 1, 1]
    assert migrate(url, "verify").outcome == (0, "clean")
    assert migrate(url, "rollback", "--max-pause-ms", "20000").outcome == (0, "moved")
    assert [count_alerts(symbol) for symbol in symbols] == [1, 1, 1]
    assert current.primary() is Side.SQLITE
