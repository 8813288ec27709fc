"""What is old and needed by nothing goes into archives; everything else stays."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest
from sqlalchemy import insert, inspect, select, text, update

from app.core.time_utils import to_ist_naive
from app.models import (
    Alert,
    AlertEvent,
    Candle,
    ManagedRiskPosition,
    Order,
    OrderJob,
    Position,
    StrategyDeployment,
    StrategyDeploymentBarCursor,
    StrategyDeploymentState,
    SystemEvent,
)
from app.retention import archive
from app.retention.old import candles
from app.retention.old.needs import OVER
from app.retention.old.parts import pointing
from app.retention.old.rules import DEFAULT_DAYS, BadRule, rules
from app.retention.report import dry_run, status
from app.retention.restore import restore
from tests.backend.living.conftest import Store
from tests.backend.living.rows import NOW, add_alert, add_bars, add_definition, add_user, days_ago, ids

OPEN = ("WAITING", "VALIDATED", "SENDING", "SENT", "PARTIALLY_EXECUTED", "OPEN", "ASKED", "A_STATE_TO_COME")
UNFINISHED_JOBS = ("PENDING", "RUNNING", "FAILED")
# Values of alerts that SQLite takes, and that do not fit their columns.
UNFIT = (
    ("bar_time", "''"), ("bar_time", "17"), ("received_at", "''"), ("qty", "'many'"),
    ("raw_payload", "x'ff00'"), ("reason", "CAST(x'80ff' AS text)"),
)  # fmt: skip


def test_alerts_of_closed_orders_go_and_their_orders_stay(store: Store) -> None:
    with store.sessions() as db:
        old = {status: add_alert(db, 91, status) for status in OVER}
        bare, _ = add_alert(db, 91)
        young, _ = add_alert(db, 89, "EXECUTED")
        stamp = db.scalars(select(Order.updated_at)).all()
        db.commit()
    result = store.retention().run(NOW)
    assert (result.error, result.rules["alerts"].rows) == (None, len(OVER) + 1)
    with store.sessions() as db:
        assert ids(db, Alert) == {young}
        orders = db.scalars(select(Order).order_by(Order.id)).all()
        assert [order.alert_id for order in orders] == [None] * len(OVER) + [young]
        assert [order.updated_at for order in orders] == stamp
    (path,) = archive.listed(store.folder)
    held = archive.read(path, Alert.__table__)  # type: ignore[arg-type]
    assert {line.id for line in held.lines} == {alert for alert, _ in old.values()} | {bare}
    assert {line.id: line.links.get("orders.alert_id") for line in held.lines} == {
        alert: order and [order] for alert, order in [*old.values(), (bare, None)]
    }


@pytest.mark.parametrize("store", ["sqlite", "postgres"], indirect=True)
def test_every_key_to_rows_that_go_has_an_index(store: Store) -> None:
    """A database looks for rows that point to a deleted one, for each of them: without an index in the whole table."""
    pointing_columns = {column for rule in rules(store.settings()) for column in pointing(rule)}
    assert pointing_columns
    with store.sessions() as db:
        inspector = inspect(db.connection())
        for column in pointing_columns:
            indexes = inspector.get_indexes(column.table.name)
            assert column.name in {index["column_names"][0] for index in indexes}, str(column)


def test_alerts_of_open_orders_stay(store: Store) -> None:
    with store.sessions() as db:
        kept = {add_alert(db, 400, status)[0] for status in OPEN}
        newest, _ = add_alert(db, 400)
        db.commit()
    assert store.retention().run(NOW).rows == 0
    with store.sessions() as db:
        assert ids(db, Alert) == {*kept, newest}


def test_alerts_that_a_position_or_deployment_needs_stay(store: Store) -> None:
    with store.sessions() as db:
        user = add_user(db)
        managed, entry = add_alert(db, 400, "EXECUTED", symbol="A")
        closing, leaving = add_alert(db, 400, "EXECUTED", symbol="A")
        held, _ = add_alert(db, 400, "EXECUTED", symbol="NSE:Held", broker_name="zerodha")
        refused, _ = add_alert(db, 400, "REJECTED", symbol="NSE:HELD", broker_name="zerodha")
        over, done = add_alert(db, 400, "EXECUTED", symbol="B")
        position = {"symbol": "A", "product": "MIS", "side": "BUY", "qty": 1, "entry_price": 1,
                    "best_favorable_price": 1}  # fmt: skip
        db.add(ManagedRiskPosition(entry_order_id=entry, exit_order_id=leaving, status="EXITING", **position))
        db.add(ManagedRiskPosition(entry_order_id=done, status="EXITED", **position))
        db.add(Position(symbol="HELD", product="CNC", qty=3, avg_price=1))
        db.add(Position(symbol="B", product="CNC", qty=0, avg_price=1))
        deployment = StrategyDeployment(
            owner_id=user,
            name="d",
            kind="STRATEGY",
            enabled=False,
            symbol="X",
            exchange="NSE",
            config_json="{}",
        )
        db.add(deployment)
        db.flush()
        db.add(StrategyDeploymentState(deployment_id=deployment.id, status="PAUSED"))
        deployed, _ = add_alert(db, 400, "EXECUTED", symbol="C", deployment_id=deployment.id)
        newest, _ = add_alert(db, 400)
        db.commit()
    assert store.retention().run(NOW).rows == 2
    with store.sessions() as db:
        assert ids(db, Alert) == {managed, closing, held, deployed, newest}
        assert {refused, over}.isdisjoint(ids(db, Alert))


def test_an_alert_whose_order_has_just_ended_stays(store: Store) -> None:
    """Its position is written later, when positions are next asked for."""
    with store.sessions() as db:
        alert, order = add_alert(db, 400, "EXECUTED", broker_name="zerodha")
        newest, _ = add_alert(db, 400)
        db.execute(update(Order).where(Order.id == order).values(updated_at=days_ago(1)))
        db.commit()
        assert dry_run(db, store.settings(), NOW)["alerts"]["stay"] == {"newest row": 1, "young order": 1}
    assert store.retention().run(NOW).rows == 0
    assert store.retention().run(NOW + timedelta(days=90)).rules["alerts"].rows == 1
    with store.sessions() as db:
        assert ids(db, Alert) == {newest}
        assert alert not in ids(db, Alert)


def test_no_alert_goes_while_its_delivery_may_be_repeated(store: Store) -> None:
    with store.sessions() as db:
        alert, _ = add_alert(db, 100, "EXECUTED")
        add_alert(db, 1)
        db.commit()
    window = int(timedelta(days=101).total_seconds())
    assert store.retention(webhook_dedupe_window_s=window).run(NOW).rows == 0
    assert store.retention().run(NOW).rows == 1
    with store.sessions() as db:
        assert alert not in ids(db, Alert)


def test_jobs_that_are_open_dead_or_young_stay(store: Store) -> None:
    with store.sessions() as db:
        made = {}
        for age, status_ in ((90, "DONE"), (31, "DONE"), (29, "DONE"), *((90, s) for s in UNFINISHED_JOBS)):
            _, order = add_alert(db, age, "EXECUTED")
            job = OrderJob(order_id=order, status=status_, updated_at=days_ago(age))
            db.add(job)
            db.flush()
            made[age, status_] = job.id
        _, order = add_alert(db, 0, "EXECUTED")
        db.add(OrderJob(order_id=order, status="DONE", updated_at=days_ago(90)))  # the newest row
        db.commit()
        told = dry_run(db, store.settings(), NOW)["order_jobs"]
        assert (told["would_go"], told["stay"]) == (2, {"open job": 2, "dead letter": 1, "newest row": 1})
    window = int(timedelta(days=32).total_seconds())
    assert store.retention(webhook_dedupe_window_s=window).run(NOW).rules["order_jobs"].rows == 1
    with store.sessions() as db:
        assert made[31, "DONE"] in ids(db, OrderJob)
    assert store.retention().run(NOW).rules["order_jobs"].rows == 1
    with store.sessions() as db:
        assert {made[90, "DONE"], made[31, "DONE"]}.isdisjoint(ids(db, OrderJob))
        assert set(made.values()) - ids(db, OrderJob) == {made[90, "DONE"], made[31, "DONE"]}


def test_the_newest_firing_of_a_definition_and_the_newest_row_stay(store: Store) -> None:
    with store.sessions() as db:
        user = add_user(db)
        definitions = [add_definition(db, user) for _ in range(2)]
        for age in (300, 200, 100):
            for definition in definitions:
                db.add(
                    AlertEvent(
                        alert_definition_id=definition, user_id=user, symbol="X", triggered_at=days_ago(age)
                    )
                )
        events = [
            SystemEvent(level="INFO", category="c", message="m", created_at=days_ago(200)) for _ in "abc"
        ]
        db.add_all(events)
        db.commit()
    result = store.retention().run(NOW)
    assert (result.rules["alert_events"].rows, result.rules["system_events"].rows) == (4, 2)
    with store.sessions() as db:
        left = db.execute(select(AlertEvent.alert_definition_id, AlertEvent.triggered_at)).all()
        assert sorted(map(tuple, left)) == [(definition, days_ago(100)) for definition in sorted(definitions)]
        told = db.scalars(select(SystemEvent).where(SystemEvent.category == "retention")).one()
        assert json.loads(told.details or "")["rows"] == {"alert_events": 4, "system_events": 2}


def test_candles_go_by_time_frame_and_never_the_bars_that_indicators_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candles, "BARS_KEPT", 5)
    today = to_ist_naive(NOW).replace(minute=0, second=0, microsecond=0)
    with store.sessions() as db:
        add_bars(db, "1m", today, 60, timedelta(days=1))
        add_bars(db, "1m", today - timedelta(days=300), 20, timedelta(days=1), symbol="GONE")
        add_bars(db, "1d", today, 60, timedelta(days=30))
        add_bars(db, "2h", today, 60, timedelta(days=30))  # a time frame without a rule
        db.commit()
    store.retention().run(NOW)
    with store.sessions() as db:
        left: dict[tuple[str, str], list[datetime]] = {}
        for symbol, frame, ts in db.execute(select(Candle.symbol, Candle.timeframe, Candle.ts)):
            left.setdefault((symbol, frame), []).append(ts)
    assert {series: len(found) for series, found in left.items()} == {
        ("INFY", "1m"): 30, ("GONE", "1m"): 5, ("INFY", "1d"): 60, ("INFY", "2h"): 60,
    }  # fmt: skip
    assert min(left["INFY", "1m"]) >= to_ist_naive(NOW) - timedelta(days=30)


def test_bars_from_where_a_deployment_stands_stay(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candles, "BARS_KEPT", 3)
    today = to_ist_naive(NOW).replace(hour=10, minute=0, second=0, microsecond=0)
    with store.sessions() as db:
        user = add_user(db)
        add_bars(db, "5m", today, 200, timedelta(days=1))
        deployment = StrategyDeployment(
            owner_id=user, name="d", kind="STRATEGY", enabled=True, symbol="INFY", exchange="NSE",
            timeframe="5m", config_json="{}",
        )  # fmt: skip
        db.add(deployment)
        db.flush()
        stands = days_ago(150).replace(hour=4, minute=30)  # 10:00 IST
        db.add(
            StrategyDeploymentBarCursor(
                deployment_id=deployment.id, exchange="NSE", symbol="INFY", timeframe="5m",
                last_emitted_bar_end_ts=stands,
            )
        )  # fmt: skip
        db.commit()
    store.retention().run(NOW)
    with store.sessions() as db:
        oldest = min(db.scalars(select(Candle.ts)))
    assert oldest == to_ist_naive(stands) - timedelta(days=2)  # with it the last three bars


def test_a_dry_run_counts_what_a_run_does_and_changes_nothing(store: Store) -> None:
    with store.sessions() as db:
        for status_ in ("EXECUTED", "WAITING", "FAILED"):
            add_alert(db, 100, status_)
        add_alert(db, 1)
        db.commit()
        told = dry_run(db, store.settings(), NOW)
        assert (told["alerts"]["would_go"], told["alerts"]["stay"]) == (2, {"open order": 1})
        assert len(ids(db, Alert)) == 4
    assert not store.folder.exists()
    result = store.retention().run(NOW)
    assert {name: rule.rows for name, rule in result.rules.items()} == {
        name: rule["would_go"] for name, rule in told.items()
    }
    found = status(store.settings())
    assert found["archives"]["alerts"]["files"] == 1
    assert found["last_run"]["rules"]["alerts"]["rows"] == 2
    assert store.retention().run(NOW).rows == 0


def test_a_dry_run_does_not_count_restored_rows_among_those_that_go(store: Store) -> None:
    """Rows that are held, of a table with several rules, and one that something else needs meanwhile."""
    with store.sessions() as db:
        alerts = [add_alert(db, 100, "EXECUTED") for _ in range(3)]
        add_bars(db, "1m", days_ago(100).replace(tzinfo=None), 502, timedelta(minutes=1))
        add_bars(db, "5m", days_ago(200).replace(tzinfo=None), 501, timedelta(minutes=5))
        add_alert(db, 1)
        db.commit()
    assert store.retention().run(NOW).rows == 3 + 2 + 1
    for path in archive.listed(store.folder):
        restore(store.sessions, path, store.folder, NOW)
    with store.sessions() as db:
        db.get_one(Order, alerts[0][1]).status = "WAITING"
        add_alert(db, 100, "EXECUTED")
        add_alert(db, 1)
        db.commit()
        told = dry_run(db, store.settings(), NOW)
    found = {name: (rule["would_go"], rule["stay"].get("restored", 0)) for name, rule in told.items()}
    assert (found["alerts"], found["candles.1m"], found["candles.5m"]) == ((1, 2), (0, 2), (0, 1))
    assert told["alerts"]["stay"]["open order"] == 1
    run = store.retention().run(NOW)
    assert {name: rule.rows for name, rule in run.rules.items()} == {
        name: n for name, (n, _) in found.items()
    }


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_a_row_that_no_archive_could_bring_back_stays_and_stops_nothing(store: Store) -> None:
    with store.sessions() as db:
        made = [add_alert(db, 400)[0] for _ in range(9)]
        young, _ = add_alert(db, 1)
        for alert, (column, value) in zip(made[1:], UNFIT, strict=False):
            db.execute(text(f"UPDATE alerts SET {column} = {value} WHERE id = {alert}"))
        db.commit()
    run = store.retention(retention_batch_rows=2).run(NOW)
    alerts = run.rules["alerts"]
    assert (run.error, alerts.rows, alerts.unfit) == (None, len(made) - len(UNFIT), len(UNFIT))
    with store.sessions() as db:
        assert ids(db, Alert) == {*made[1 : 1 + len(UNFIT)], young}
    restored = [restore(store.sessions, path, store.folder, NOW) for path in archive.listed(store.folder)]
    assert sum(one.restored for one in restored) == alerts.rows


def test_a_run_of_many_batches_reaches_every_row(store: Store) -> None:
    with store.sessions() as db:
        rows = [
            {"level": "INFO", "category": "c", "message": str(n), "created_at": days_ago(200)}
            for n in range(120)
        ]
        db.execute(insert(SystemEvent), rows)
        db.commit()
    result = store.retention(retention_batch_rows=50).run(NOW)
    assert (result.rules["system_events"].rows, result.rules["system_events"].archives) == (119, 3)


@pytest.mark.parametrize("text", ["alerts", "alerts=x", "orders=3", "candles=4", "alerts=1 alert_events=2"])
def test_rules_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(BadRule, match="ST_RETENTION_DAYS"):
        rules(Store("", None, None, None, None).settings(retention_days=text))  # type: ignore[arg-type]


def test_days_can_be_chosen_and_zero_keeps_for_ever() -> None:
    settings = Store("", None, None, None, None).settings(  # type: ignore[arg-type]
        retention_days="alerts=0, candles.1m=7, candles.3m=9"
    )
    wanted = {name: days for name, days in DEFAULT_DAYS.items() if days and name != "alerts"}
    found = {rule.name: rule.days for rule in rules(settings)}
    assert found == {**wanted, "candles.1m": 7, "candles.3m": 9}
