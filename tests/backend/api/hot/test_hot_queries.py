"""No query of the hot paths goes through a large table: they are collected from the application and explained.

Hot is what the load scenarios send (deliveries, and people at their screens), what runs in the background
all the time, and logging in. The statements are those that reach the driver, with their parameters.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import Engine

from app.core.auth import SESSION_COOKIE_NAME, create_session_token
from app.core.config import get_settings
from app.native.indexes import unneeded
from app.native.wanted import DUPLICATES
from loadtests.bench.native.__main__ import PAGES as TRIAL_PAGES
from loadtests.judge.plans import Sent, findings
from tests.backend.api.hot.hot_paths import (
    HotPath,
    Sessions,
    TestClient,
    jobs,
    log_in,
    orders,
    screens,
    stranded,
    webhook,
)
from tests.backend.api.hot.hot_rows import LARGE
from tests.backend.api.hot.hot_work import auto, by_hand, goes, paper, retention, work

PATHS: tuple[HotPath, ...] = (
    *(webhook, orders, screens, log_in, jobs, stranded),
    *(by_hand, auto, work, paper, goes, retention),
)

INDEXES = Path(__file__).resolve().parents[4] / "deploy" / "postgres" / "indexes.sql"
NEWCOMER_ID = 1021  # has no alert
NEWEST = ("/api/tv-alerts?limit=20", "/api/system-events/?limit=20")
ORDERS = ("/api/orders/", "/api/orders/?status=WAITING&broker_name=zerodha", "/api/orders/?strategy_id=1001")
NATIVE_PAGES = (
    *NEWEST,
    "/api/system-events/?order_id=7",
    "/api/system-events/?level=ERROR",
    "/api/system-events/?category=risk",
)
_EXPLAINED = re.compile(r"\s*(SELECT|UPDATE|DELETE|WITH)\b")


@pytest.mark.parametrize("path", PATHS)
def test_hot_paths_go_through_no_large_table(
    path: HotPath, client: TestClient, sessions: Sessions, engine: Engine, sent: list[Sent]
) -> None:
    path(client, sessions)
    assert _explained(engine, sent) == {}


def test_the_newest_bar_of_a_deployment_is_found_without_its_other_jobs(
    client: TestClient, sessions: Sessions, engine: Engine, sent: list[Sent]
) -> None:
    """It is asked for every second; the index of the deployment alone would read all of its jobs."""
    jobs(client, sessions)
    (asked,) = {one.statement: one for one in sent if "max(" in one.statement}.values()
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(f"{explain} {asked.statement}", asked.parameters).all()
    assert "ix_strategy_deployment_jobs_newest" in str(rows)


def test_a_claim_sorts_no_backlog(
    client: TestClient, sessions: Sessions, engine: Engine, sent: list[Sent]
) -> None:
    """Windows have an index, so that none of the bars that wait is looked at for them."""
    jobs(client, sessions)
    claims = {
        one.statement: one for one in sent if "ORDER BY strategy_deployment_jobs.created_at" in one.statement
    }
    assert len(claims) == 2
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with engine.connect() as connection:
        plans = [
            str(connection.exec_driver_sql(f"{explain} {one.statement}", one.parameters).all())
            for one in claims.values()
        ]
    assert not [plan for plan in plans if "Sort" in plan or "TEMP B-TREE" in plan]
    assert [plan for plan in plans if "ix_strategy_deployment_jobs_windows" in plan]


def test_the_trial_on_large_tables_asks_for_every_list() -> None:
    def shape(page: str) -> str:
        return re.sub(r"=[^&]*", "", page)

    assert {shape(page) for page in (*NATIVE_PAGES, *ORDERS)} <= {shape(page) for page in TRIAL_PAGES}


@pytest.mark.parametrize("engine", ["postgres"], indirect=True)
@pytest.mark.parametrize("page", [*NEWEST, NATIVE_PAGES[2]])
def test_some_pages_need_the_operators_index(
    page: str, client: TestClient, engine: Engine, sent: list[Sent]
) -> None:
    """The application's schema has none for these pages; deploy/postgres/indexes.sql adds them."""
    before = client.get(page)
    assert len(before.json()) == (0 if "order_id" in page else 20)
    assert [kind for kinds in _explained(engine, sent).values() for kind in kinds if "Seq Scan" in kind]
    made = re.findall(r"CREATE INDEX CONCURRENTLY IF NOT EXISTS (\w+)[^;]+;", INDEXES.read_text("utf-8"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        try:
            for _ in range(2):  # it can be repeated
                for statement in re.findall(r"^CREATE[^;]+", INDEXES.read_text("utf-8"), re.MULTILINE):
                    connection.exec_driver_sql(statement)
            sent.clear()
            after = client.get(page)
            assert _explained(engine, sent) == {}
            assert after.json() == before.json()
        finally:
            for index in made:
                connection.exec_driver_sql(f"DROP INDEX IF EXISTS {index}")


@pytest.mark.parametrize("engine", ["native"], indirect=True)
@pytest.mark.parametrize("page", NATIVE_PAGES)
def test_the_native_branch_has_the_index_of_every_page(
    page: str, client: TestClient, engine: Engine, sent: list[Sent]
) -> None:
    assert client.get(page).status_code == 200
    assert _explained(engine, sent) == {}


@pytest.mark.parametrize("engine", ["native"], indirect=True)
@pytest.mark.parametrize("page", [NEWEST[0], *ORDERS])
def test_a_person_without_rows_makes_nobody_elses_be_walked_over(
    page: str, client: TestClient, engine: Engine, sent: list[Sent]
) -> None:
    client.cookies.set(SESSION_COOKIE_NAME, create_session_token(get_settings(), NEWCOMER_ID))
    client.get(page).raise_for_status()
    assert _explained(engine, sent) == {}


@pytest.mark.parametrize("engine", ["postgres", "native"], indirect=True)
def test_indexes_that_nothing_needs_are_named(engine: Engine, request: pytest.FixtureRequest) -> None:
    with engine.connect() as connection:  # and nothing is committed
        connection.exec_driver_sql("CREATE INDEX two ON orders (qty)")
        connection.exec_driver_sql("CREATE INDEX one ON orders (alert_id, id)")
        found = unneeded(connection)
    unused = {name: table for name, table, _ in found.unused}
    assert (found.repeats["ix_orders_alert_id"], unused["two"]) == ("one", "orders")
    assert "ux_orders_client_order_id" not in unused
    same = {index.name for index in DUPLICATES}
    assert same & set(found.repeats) == (same if "postgres" in request.node.name else set())


def test_a_missing_index_is_found(
    client: TestClient, sessions: Sessions, engine: Engine, sent: list[Sent]
) -> None:
    """The net has the right mesh: without the idempotency key's index a delivery reads all orders."""
    webhook(client, sessions)
    collected = list(sent)
    with engine.connect() as connection, connection.begin() as transaction:
        connection.exec_driver_sql("DROP INDEX ux_orders_client_order_id")
        found = [
            kind
            for one in collected
            if _EXPLAINED.match(one.statement)
            for kind in findings(connection, one, LARGE)
        ]
        transaction.rollback()
    assert [kind for kind in found if "orders" in kind]


def _explained(engine: Engine, sent: list[Sent]) -> dict[str, list[str]]:
    """What was found, by statement; every kind of statement is explained once."""
    kinds = {one.statement: one for one in list(sent) if _EXPLAINED.match(one.statement)}
    assert kinds
    with engine.connect() as connection:
        found = {statement: findings(connection, one, LARGE) for statement, one in kinds.items()}
    return {statement: kinds for statement, kinds in found.items() if kinds}
