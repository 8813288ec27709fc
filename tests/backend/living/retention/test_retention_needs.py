"""No random history loses a firing, an event, a job or a bar that something needs, and everything else goes.

The rules are said here once more, in the words of a person who would have to do without the row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.time_utils import ist_naive_to_utc, to_ist_naive
from app.models import (
    Alert,
    AlertEvent,
    Candle,
    Order,
    OrderJob,
    StrategyDeployment,
    StrategyDeploymentBarCursor,
    StrategyDeploymentState,
    SystemEvent,
)
from app.retention.old import candles
from tests.backend.living.conftest import Store
from tests.backend.living.rows import NOW, add_alert, add_definition, add_user, days_ago

KEPT_BARS = 3
WINDOW_DAYS = 40
DAYS = {"1m": 30, "5m": 90, "1d": None}
AGES = st.sampled_from([0, 29.99, 30.01, 39.99, 40.01, 89.99, 90.01, 400])
STANDS = st.sampled_from([None, 1, 35, 95, 401])

_series = st.fixed_dictionaries(
    {
        "timeframe": st.sampled_from(list(DAYS)),
        "ages": st.sets(st.sampled_from([0, 1, 29, 31, 35, 60, 89, 91, 95, 200, 400, 401]), max_size=9),
        "cursor": STANDS,
        "state": STANDS,
        "enabled": st.booleans(),
        "status": st.sampled_from(["STOPPED", "RUNNING", "PAUSED", "ERROR"]),
    }
)
_history = st.fixed_dictionaries(
    {
        "events": st.lists(AGES, max_size=6),
        "firings": st.lists(st.tuples(st.sampled_from([0, 1]), AGES), max_size=8),
        "jobs": st.lists(
            st.tuples(st.sampled_from(["PENDING", "RUNNING", "DONE", "FAILED"]), AGES), max_size=6
        ),
        "series": st.lists(_series, max_size=3),
        "deployed": st.lists(
            st.tuples(st.booleans(), st.sampled_from([None, "STOPPED", "ERROR"]), AGES),
            max_size=4,
        ),
    }
)
Expected = dict[Any, set[int]]


def _id(db: Any, row: Any) -> int:
    db.add(row)
    db.flush()
    return int(row.id)


def _events(db: Any, ages: Iterable[float], stay: Expected) -> None:
    for age in ages:
        made = _id(db, SystemEvent(level="I", category="c", message="m", created_at=days_ago(age)))
        if age < 90:
            stay[SystemEvent].add(made)
    stay[SystemEvent].add(
        _id(db, SystemEvent(level="I", category="c", message="m", created_at=days_ago(500)))
    )


def _firings(db: Any, user: int, firings: Iterable[tuple[int, float]], stay: Expected) -> None:
    definitions = [add_definition(db, user), add_definition(db, user)]
    made: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for which, age in firings:
        row = AlertEvent(
            alert_definition_id=definitions[which], user_id=user, symbol="X", triggered_at=days_ago(age)
        )
        made[which].append((age, _id(db, row)))
    for of_definition in made.values():
        stay[AlertEvent].update(one for age, one in of_definition if age < 90)
        youngest = min(age for age, _ in of_definition)
        stay[AlertEvent].add(max(one for age, one in of_definition if age == youngest))
    stay[AlertEvent] |= {max((one for ones in made.values() for _, one in ones), default=0)} - {0}


def _jobs(db: Any, jobs: Iterable[tuple[str, float]], stay: Expected) -> None:
    last = 0
    for status, age in jobs:
        order = _id(db, Order(symbol="X", side="BUY", qty=1, status="EXECUTED", updated_at=days_ago(age)))
        last = _id(db, OrderJob(order_id=order, status=status, payload_json="{}", updated_at=days_ago(age)))
        if status != "DONE" or age < WINDOW_DAYS:
            stay[OrderJob].add(last)
    stay[OrderJob] |= {last} - {0}


def _deployment(db: Any, user: int, number: int, enabled: bool, timeframe: str = "5m") -> int:
    return _id(
        db,
        StrategyDeployment(
            owner_id=user, name=f"d{number}", kind="STRATEGY", enabled=enabled, symbol=f"S{number}", exchange="NSE",
            timeframe=timeframe, config_json="{}",
        ),
    )  # fmt: skip


def _bars(db: Any, user: int, number: int, one: dict[str, Any], stay: Expected) -> None:
    deployment = _deployment(db, user, number, one["enabled"], one["timeframe"])
    series = {"exchange": "NSE", "symbol": f"S{number}", "timeframe": one["timeframe"]}

    def stand(age: float | None) -> Any:
        return None if age is None else ist_naive_to_utc(to_ist_naive(days_ago(age)))

    db.add(
        StrategyDeploymentState(
            deployment_id=deployment, status=one["status"], last_eval_bar_end_ts=stand(one["state"])
        )
    )
    if one["cursor"] is not None and one["timeframe"] in ("1m", "5m"):  # no others are allowed
        db.add(
            StrategyDeploymentBarCursor(
                deployment_id=deployment, **series, last_emitted_bar_end_ts=stand(one["cursor"])
            )
        )
    made = {}
    for age in sorted(one["ages"], reverse=True):
        prices = {"open": 1, "high": 1, "low": 1, "close": 1}
        made[age] = _id(db, Candle(**series, ts=to_ist_naive(days_ago(age)), **prices))
    days = DAYS[one["timeframe"]]
    needed = set(sorted(made)[:KEPT_BARS])
    if one["enabled"] or one["status"] != "STOPPED":
        cursor = one["cursor"] if one["timeframe"] in ("1m", "5m") else None
        for at in {cursor, one["state"]} - {None}:
            needed |= {age for age in made if age < at}
            needed |= set([age for age in sorted(made) if age >= at][:KEPT_BARS])
    stay[Candle].update(bar for age, bar in made.items() if days is None or age < days or age in needed)


def _alerts(db: Any, user: int, deployed: Iterable[tuple[bool, str | None, float]], stay: Expected) -> None:
    for number, (enabled, status, age) in enumerate(deployed):
        deployment = _deployment(db, user, 100 + number, enabled)
        if status:
            db.add(StrategyDeploymentState(deployment_id=deployment, status=status))
        alert, _ = add_alert(db, age, "EXECUTED", deployment_id=deployment)
        if age < 90 or enabled or status not in (None, "STOPPED"):
            stay[Alert].add(alert)
    stay[Alert].add(add_alert(db, 500)[0])


@pytest.mark.parametrize("examples", [5, pytest.param(80, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_what_is_needed_stays_and_nothing_else(
    kind: str,
    examples: int,
    living: Callable[[str], Store],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(candles, "BARS_KEPT", KEPT_BARS)
    store = living(kind)

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(_history)
    def history(given_: dict[str, Any]) -> None:
        store.folder = tmp_path_factory.mktemp("archive")
        stay: Expected = {model: set() for model in (Alert, AlertEvent, SystemEvent, OrderJob, Candle)}
        with store.sessions() as db:
            user = add_user(db)
            _events(db, given_["events"], stay)
            _firings(db, user, given_["firings"], stay)
            _jobs(db, given_["jobs"], stay)
            for number, one in enumerate(given_["series"]):
                _bars(db, user, number, one, stay)
            last = Candle(
                symbol="Z",
                exchange="NSE",
                timeframe="1m",
                ts=to_ist_naive(days_ago(0)),
                open=1,
                high=1,
                low=1,
                close=1,
            )
            stay[Candle].add(_id(db, last))
            _alerts(db, user, given_["deployed"], stay)
            orders = db.query(Order).count()
            db.commit()
        try:
            retention = store.retention(retention_batch_rows=3, webhook_dedupe_window_s=WINDOW_DAYS * 86_400)
            assert retention.run(NOW).error is None
            with store.sessions() as db:
                for model, wanted in stay.items():
                    told = SystemEvent.category == "c" if model is SystemEvent else model.id > 0
                    assert {row.id for row in db.query(model).filter(told)} == wanted, model.__tablename__
                assert db.query(Order).count() == orders
        finally:
            store.settle()

    history()
