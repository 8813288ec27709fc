"""A rehearsal of shards on two servers: rows, joins and keys stay on one shard, and what of the application does not.

`make shards` runs it. The first node routes as Citus would: by a hash of the key, in the planner.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError

from app.db.base import Base
from app.native.placement import PLACEMENTS, Place, shard_schema
from loadtests.judge.plans import Sent
from loadtests.stage.embedded import EmbeddedPostgres
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
from tests.backend.api.hot.shards import SHARDS, Cluster, nodes, plan_of, shards_of

pytestmark = pytest.mark.long

PEOPLE = 20
_EXPLAINED = re.compile(r"\s*(SELECT|UPDATE|DELETE|WITH)\b")
_SPREAD = [name for name, placement in PLACEMENTS.items() if placement.place is Place.SPREAD]
_TABLES = shard_schema(Base.metadata).tables
_KEYS = [
    (child, key.referred_table.name, key.column_keys[1])
    for child in _SPREAD
    for key in _TABLES[child].foreign_key_constraints
    if key.referred_table.name in _SPREAD
]

# Tables that a path asks every shard for today: docs/scaling-out.md says why.
ASKED_EVERYWHERE: list[tuple[HotPath, set[str]]] = [
    (webhook, {"alerts", "orders"}),
    (orders, {"alerts", "orders"}),
    (screens, set()),
    (log_in, set()),
    (jobs, {"strategy_deployment_jobs", "strategy_deployment_locks", "strategy_deployments"}),
    (stranded, {"orders"}),
]


@pytest.fixture(scope="module")
def cluster(postgres_server: EmbeddedPostgres) -> Iterator[Cluster]:
    """Two shards with an alert and an order of each person, all inserted by way of the first node."""
    with EmbeddedPostgres(light=True) as second:
        made = Cluster([postgres_server, second])
        made.everywhere(
            "INSERT INTO users (id, username, password_hash, role, created_at, updated_at)"
            f" SELECT i, 'trader' || i, 'x', 'TRADER', now(), now() FROM generate_series(1, {PEOPLE}) AS i"
        )
        with made.first.begin() as connection:
            for person in range(1, PEOPLE + 1):
                add(connection, person)
        yield made
        made.close()


@pytest.fixture
def first(cluster: Cluster) -> Iterator[Connection]:
    with cluster.first.connect() as connection:
        yield connection


def add(
    connection: Connection, person: int, *, row: int | None = None, alert: int | None = None, key: str = ""
) -> None:
    """An order with an idempotency key, and with an alert of its own unless one is named."""
    row = row or person
    if alert is None:
        connection.exec_driver_sql(
            "INSERT INTO alerts (id, user_id, symbol, exchange, action, qty, platform, source, raw_payload,"
            " received_at)"
            " VALUES (%s, %s, 'NSE:S1', 'NSE', 'BUY', 1, 'TRADINGVIEW', 'TRADINGVIEW', '{}', now())",
            (row, person),
        )
    connection.exec_driver_sql(
        "INSERT INTO orders (id, user_id, alert_id, client_order_id, symbol, exchange, side, qty, order_type,"
        " product, gtt, synthetic_gtt, status, mode, execution_target, broker_name, simulated, is_exit,"
        " created_at, updated_at) VALUES (%s, %s, %s, %s, 'NSE:S1', 'NSE', 'BUY', 1, 'MARKET', 'CNC', false,"
        " false, 'WAITING', 'MANUAL', 'LIVE', 'zerodha', false, false, now(), now())",
        (row, person, alert or row, key or f"TVA:{row}"),
    )


def test_rows_lie_where_their_key_belongs(cluster: Cluster, first: Connection) -> None:
    """A person's alerts and orders are on one shard, and every shard has people."""
    belongs = "SELECT i, satisfies_hash_partition('{}'::regclass, {}, {}, i) FROM generate_series(1::bigint, {}) AS i"
    seen: set[int] = set()
    for number, shard in enumerate(cluster.shards):
        expected: dict[str, set[int]] = {
            table: {
                person
                for person, here in first.exec_driver_sql(belongs.format(table, SHARDS, number, PEOPLE))
                if here
            }
            for table in ("alerts", "orders")
        }
        with shard.connect() as connection:
            for table, people in expected.items():
                assert set(connection.exec_driver_sql(f"SELECT user_id FROM {table}").scalars()) == people
        assert expected["alerts"] == expected["orders"] != set()
        seen |= expected["orders"]
    assert seen == set(range(1, PEOPLE + 1))


@pytest.mark.parametrize("table", _SPREAD)
def test_a_query_with_the_key_asks_one_shard(table: str, first: Connection) -> None:
    key = PLACEMENTS[table].key
    asked = set()
    for value in range(1, PEOPLE + 1):
        given = f"S{value}" if key == "symbol" else value
        plan = plan_of(first, Sent(f"SELECT * FROM {table} WHERE {key} = %s", (given,)))
        ((_, shard),) = shards_of(plan)
        asked.add(shard)
    assert asked == set(range(SHARDS))
    assert len(shards_of(plan_of(first, Sent(f"SELECT * FROM {table}", ())))) == SHARDS


@pytest.mark.parametrize(("child", "parent", "column"), _KEYS)
def test_joins_of_a_person_stay_on_one_shard(child: str, parent: str, column: str, first: Connection) -> None:
    own, other = PLACEMENTS[child].key, PLACEMENTS[parent].key
    by_id = f"SELECT c.id FROM {child} c JOIN {parent} p ON c.{column} = p.id"
    with_key = f"{by_id} AND c.{own} = p.{other}"
    assert joined_across(first, with_key) == set()
    assert joined_across(first, by_id) == {child, parent}
    one = shards_of(plan_of(first, Sent(f"{with_key} WHERE c.{own} = %s", (7,))))
    assert {table for table, _ in one} == {child, parent}
    assert len({shard for _, shard in one}) == 1


def joined_across(first: Connection, statement: str) -> set[str]:
    """The tables of which rows of one shard meet rows of another."""
    steps = nodes(plan_of(first, Sent(statement, ())))
    joins = [
        shards_of(node) for node in steps if "Join" in node["Node Type"] or node["Node Type"] == "Nested Loop"
    ]
    return {table for pairs in joins for table, _ in pairs if len({number for _, number in pairs}) > 1}


def test_what_a_shard_refuses_and_what_it_cannot_see(cluster: Cluster, first: Connection) -> None:
    """A person's rows are held together; that another person has the same idempotency key is not seen."""
    with cluster.shards[0].connect() as shard:
        one = min(shard.exec_driver_sql("SELECT user_id FROM orders").scalars())
    with cluster.shards[1].connect() as shard:
        other = min(shard.exec_driver_sql("SELECT user_id FROM orders").scalars())

    def refused(person: int, alert: int, key: str) -> str:
        try:
            add(first, person, row=900, alert=alert, key=key)
        except IntegrityError as error:
            return type(error.orig).__name__
        finally:
            first.rollback()
        return ""

    assert refused(one, one, "TVA:new") == ""
    assert refused(one, other, "TVA:new") == "ForeignKeyViolation"
    assert refused(one, one, f"TVA:{one}") == "UniqueViolation"
    assert refused(other, other, f"TVA:{one}") == ""


@pytest.mark.parametrize("engine", ["postgres"], indirect=True)
@pytest.mark.parametrize(("path", "tables"), ASKED_EVERYWHERE, ids=lambda it: getattr(it, "__name__", ""))
def test_what_the_application_asks_every_shard_for(
    path: HotPath,
    tables: set[str],
    client: TestClient,
    sessions: Sessions,
    engine: Engine,
    sent: list[Sent],
    first: Connection,
) -> None:
    """The statements of the hot paths as they are, sent to one database and explained on the first node."""
    path(client, sessions)
    statements = {one.statement: one for one in list(sent) if _EXPLAINED.match(one.statement)}
    assert statements
    asked = [shards_of(plan_of(first, one)) for one in statements.values()]
    assert {table for pairs in asked for table, _ in pairs if len(numbers(pairs, table)) > 1} == tables


def numbers(pairs: set[tuple[str, int]], table: str) -> set[int]:
    """The shards that are asked for a table."""
    return {number for name, number in pairs if name == table}
