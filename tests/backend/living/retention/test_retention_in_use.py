"""A year flows through and the tables stay small; no random history loses a needed row; webhooks are answered."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import OperationalError

from app.core.time_utils import to_ist_naive
from app.db.common.errors import SwitchError
from app.models import Alert, AlertEvent, Candle, ManagedRiskPosition, Order, OrderJob, Position, SystemEvent
from app.retention import archive
from app.retention import run as running
from app.retention.old import candles
from app.retention.old.needs import NEVER_WENT, OVER
from app.retention.restore import restore
from app.services.orders.queue import requeue_with_event
from app.services.orders.rows import copy_to_waiting_queue
from app.services.orders.sending.jobs import ORDERS as JOBS
from app.services.shared.jobs.claim import claim, finish
from tests.backend.living.conftest import Store
from tests.backend.living.rows import NOW, add_alert, add_definition, add_user, count, days_ago, ids

PER_DAY, DAYS, MONTH = 4, 365, 28
ORDERS = 40


def _one_month(store: Store, first_day: int, user: int, definition: int) -> None:
    """Four weeks of rows, from a day counted from a year before `NOW`."""
    times = [
        days_ago(DAYS - first_day - day - hour / 24) for day in range(MONTH) for hour in range(PER_DAY)
    ]  # fmt: skip
    with store.sessions() as db:
        alert = {"symbol": "NSE:INFY", "action": "BUY", "raw_payload": "{}"}
        db.execute(insert(Alert), [{**alert, "received_at": at} for at in times])
        firing = {"alert_definition_id": definition, "user_id": user, "symbol": "X"}
        db.execute(insert(AlertEvent), [{**firing, "triggered_at": at} for at in times])
        event = {"level": "INFO", "category": "c", "message": "m"}
        db.execute(insert(SystemEvent), [{**event, "created_at": at} for at in times])
        bar = {
            "symbol": "INFY",
            "exchange": "NSE",
            "timeframe": "1m",
            "open": 1,
            "high": 1,
            "low": 1,
            "close": 1,
        }
        db.execute(insert(Candle), [{**bar, "ts": to_ist_naive(at)} for at in times])
        db.commit()


def test_a_year_flows_through_and_the_tables_stay_small(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candles, "BARS_KEPT", 40)
    with store.sessions() as db:
        user = add_user(db)
        definition = add_definition(db, user)
        db.commit()
    bounds = {Alert: 90, AlertEvent: 90, SystemEvent: 90, Candle: 30}
    largest = dict.fromkeys(bounds, 0)
    months = DAYS // MONTH
    for month in range(months):
        _one_month(store, month * MONTH, user, definition)
        run = store.retention(retention_batch_rows=500).run(days_ago(DAYS - (month + 1) * MONTH))
        assert run.error is None
        with store.sessions() as db:
            largest = {model: max(most, count(db, model)) for model, most in largest.items()}
    total = months * MONTH * PER_DAY
    for model, kept_days in bounds.items():
        runs = months if model is SystemEvent else 0  # each run that took something out tells of it
        assert kept_days * PER_DAY <= largest[model] <= (kept_days + 1) * PER_DAY + runs
    archived = [
        archive.read(path, model.__table__)  # type: ignore[arg-type]
        for path in archive.listed(store.folder)
        for model in bounds
        if model.__tablename__ == archive.table_of(path)
    ]
    with store.sessions() as db:
        for model in (Alert, AlertEvent, Candle):
            gone = [line.id for one in archived if one.table == model.__tablename__ for line in one.lines]
            assert len(gone) == len(set(gone))
            assert set(gone).isdisjoint(ids(db, model))
            assert len(gone) + count(db, model) == total


_order = st.fixed_dictionaries(
    {
        "status": st.sampled_from([*OVER, "WAITING", "SENT", "ANOTHER"]),
        "symbol": st.sampled_from(["NSE:A", "a", "B", "NSE:B"]),
        "managed": st.sampled_from([None, "ACTIVE", "EXITED", "ANOTHER"]),
    }
)
_alert = st.tuples(st.sampled_from([0, 45, 89.99, 90.01, 400]), st.lists(_order, max_size=2))


def _needed(age: float, orders: list[dict[str, str]], held: set[str]) -> bool:
    """The rule in words of its own: what a person would keep."""
    return age < 90 or any(
        order["status"] not in OVER
        or order["managed"] not in (None, "EXITED")
        or (order["status"] not in NEVER_WENT and order["symbol"].upper().removeprefix("NSE:") in held)
        for order in orders
    )


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_no_needed_alert_goes_and_every_other_one_does(
    kind: str, living: Callable[[str], Store], tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = living(kind)

    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(_alert, max_size=12), st.sets(st.sampled_from("AB")))
    def history(alerts: list[tuple[float, list[dict[str, str]]]], held: set[str]) -> None:
        store.folder = tmp_path_factory.mktemp("archive")
        expected = set()
        with store.sessions() as db:
            for symbol in sorted(held):
                db.add(Position(symbol=symbol, product="CNC", qty=-1, avg_price=1))
            for age, orders in alerts:
                alert, _ = add_alert(db, age)
                for one in orders:
                    order = Order(
                        alert_id=alert, symbol=one["symbol"], side="BUY", qty=1, status=one["status"],
                        updated_at=days_ago(age),
                    )  # fmt: skip
                    db.add(order)
                    db.flush()
                    if one["managed"]:
                        db.add(
                            ManagedRiskPosition(
                                entry_order_id=order.id, symbol="Z", product="MIS", side="BUY", qty=1,
                                entry_price=1, best_favorable_price=1, status=one["managed"],
                            )
                        )  # fmt: skip
                if _needed(age, orders, held):
                    expected.add(alert)
            newest, _ = add_alert(db, 400)
            db.commit()
        try:
            assert store.retention(retention_batch_rows=3).run(NOW).error is None
            with store.sessions() as db:
                assert ids(db, Alert) == {*expected, newest}
                dangling = (
                    select(func.count()).select_from(Order).where(Order.alert_id.not_in(select(Alert.id)))
                )
                assert db.scalar(dangling) == 0
        finally:
            store.settle()

    history()


def test_workers_and_retention_do_not_get_into_each_others_way(store: Store) -> None:
    """Seen from a year later, whatever a worker ends is old at once: jobs and alerts go while others are worked on."""
    later, folder = NOW + timedelta(days=400), store.folder
    with store.sessions() as db:
        made = [add_alert(db, 0, "WAITING", mode="AUTO") for _ in range(ORDERS)]
        db.add_all(OrderJob(order_id=order, status="PENDING", payload_json="{}") for _, order in made)
        add_alert(db, 0)
        db.commit()
    alert_of = {order: alert for alert, order in made}
    done: list[int] = []

    def work(name: str) -> None:
        while len(done) < ORDERS:
            try:
                with store.sessions() as db:
                    claimed = claim(db, JOBS, name, 3)
                    db.commit()
                    for job in claimed:
                        order = db.get_one(Order, db.get_one(OrderJob, job).order_id)
                        order.status = "FAILED" if order.id % 4 == 0 else "EXECUTED"
                        if order.status == "FAILED":
                            copy_to_waiting_queue(db, order)
                        if not finish(db, JOBS, job, name):
                            break  # it came back to the queue
                        db.commit()
                        done.append(order.id)
            except (OperationalError, SwitchError):  # SQLite's lock, under load
                with store.sessions() as db:  # what this worker still held comes back to the queue
                    held = update(OrderJob).where(OrderJob.status == "RUNNING")
                    db.execute(held.values(status="PENDING", locked_by=None, locked_at=None))
                    db.commit()

    with ThreadPoolExecutor(2) as pool:
        crew = [pool.submit(work, name) for name in ("one", "two")]
        while not all(one.done() for one in crew):
            assert store.retention(retention_batch_rows=5).run(later).error is None
        for one in crew:
            one.result()
    assert store.retention(retention_batch_rows=5).run(later).error is None
    assert sorted(done) == sorted(alert_of)
    with store.sessions() as db:
        waiting = dict(db.execute(select(Order.id, Order.alert_id).where(Order.status == "WAITING")).all())
        assert sorted(waiting.values()) == sorted(alert_of[order] for order in alert_of if order % 4 == 0)
        assert set(waiting.values()) <= ids(db, Alert)
        assert count(db, OrderJob) == 1
    for path in archive.listed(folder):
        restored = restore(store.sessions, path, folder, later)
        assert not (restored.differing or restored.replaced or restored.refused)
    with store.sessions() as db:
        assert dict(db.execute(select(Order.id, Order.alert_id)).all()) == alert_of | waiting
        assert (count(db, Alert), count(db, OrderJob)) == (ORDERS + 1, ORDERS)


def test_an_order_that_is_copied_while_its_alert_goes_is_copied(store: Store) -> None:
    with store.sessions() as db:
        _, order = add_alert(db, 400, "FAILED")
        add_alert(db, 1)
        db.commit()
    with store.sessions() as db:
        source = db.get_one(Order, order)
        db.commit()
        assert store.retention().run(NOW).rows == 1
        assert requeue_with_event(db, source, None).alert_id is None


def test_writers_are_served_while_a_run_goes_on(store: Store) -> None:
    """Writes beside a run wait for one small transaction at most, and none fails."""
    with store.sessions() as db:
        for _ in range(300):
            add_alert(db, 400, "EXECUTED")
        add_alert(db, 1)
        db.commit()
    failures: list[BaseException] = []
    written = 0
    over = threading.Event()
    run = store.retention(retention_batch_rows=10)

    def take_out() -> None:
        try:
            run.run(NOW)
        except BaseException as error:
            failures.append(error)
        finally:
            over.set()

    thread = threading.Thread(target=take_out)
    thread.start()
    while not over.is_set():
        with store.sessions() as db:
            add_alert(db, 0, "WAITING")
            db.commit()
        written += 1
    thread.join()
    assert failures == []
    assert written > 0
    with store.sessions() as db:
        assert count(db, Alert) == written + 1


def test_the_pause_after_a_batch_is_four_times_its_length(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.sessions() as db:
        for _ in range(100):
            add_alert(db, 400)
        add_alert(db, 1)
        db.commit()
    pauses: list[float] = []
    run = store.retention()
    run._pause = pauses.append
    clock = itertools.count(step=1.5)  # a batch looks at it before and after
    monkeypatch.setattr(running, "time", SimpleNamespace(monotonic=lambda: next(clock), time=time.time))
    assert run.run(NOW).error is None
    assert pauses == [6.0, 6.0]


@pytest.mark.parametrize("store", ["sync-sqlite"], indirect=True)
def test_a_run_waits_for_the_shadow_and_gives_up_in_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.sessions() as db:
        add_alert(db, 400)
        add_alert(db, 1)
        db.commit()
    lags = iter([60.0, 60.0, 0.0])
    waited: list[float] = []
    run = store.retention()
    run._lag, run._pause = lambda: next(lags), waited.append
    assert (run.run(NOW).error, waited[:2]) == (None, [0.5, 0.5])
    with store.sessions() as db:
        add_alert(db, 400)
        add_alert(db, 1)
        db.commit()
    monkeypatch.setattr("app.retention.run.LAG_PATIENCE_SECONDS", 0.0)
    run = store.retention()
    run._lag = lambda: 60.0
    assert "60 s behind" in (run.run(NOW).error or "")
