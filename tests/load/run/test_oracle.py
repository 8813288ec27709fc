"""The oracle is proven by damage: it must find exactly what was done to one side."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest
from sqlalchemy import make_url

from loadtests.judge.oracle import Verdict, judge
from loadtests.judge.sides import PostgresSide
from loadtests.traffic.ledger import Delivery, Fact, Outcome
from tests.load.load_world import RUN, World, insert, raw


def verdict_of(world: World, *entries: Delivery | Fact) -> Verdict:
    return judge(RUN, entries, world.sides)


def kinds(verdict: Verdict) -> list[tuple[str, str, str]]:
    return [(finding.kind, finding.side, finding.what) for finding in verdict.findings]


def test_what_is_stored_as_told_is_clean(world: World) -> None:
    deliveries = [world.deliver() for _ in range(30)]
    verdict = verdict_of(world, *deliveries)
    assert verdict.clean
    assert (verdict.deliveries, verdict.acknowledged) == (30, 30)


def test_a_lost_alert_and_a_lost_order_are_found_on_their_side(world: World) -> None:
    kept, no_alert, no_order = (world.deliver() for _ in range(3))
    world.databases[1].execute("DELETE FROM alerts WHERE id = ?", (no_alert.alert_id,))
    world.databases[1].execute("DELETE FROM orders WHERE id = ?", (no_order.order_id,))
    verdict = verdict_of(world, kept, no_alert, no_order)
    assert kinds(verdict) == [("lost", "sqlite", no_alert.marker), ("lost", "sqlite", no_order.marker)]
    assert verdict.count("lost") == 2


def test_a_doubled_order_is_found(world: World) -> None:
    delivery = world.deliver()
    world.databases[0].execute(
        "INSERT INTO orders SELECT 9999, alert_id, client_order_id, symbol, exchange, side, qty, price, order_type, "
        "product, status, mode, error_message FROM orders"
    )
    assert kinds(verdict_of(world, delivery)) == [("doubled", "sqlite", delivery.marker)]


def test_a_doubled_alert_without_an_order_is_found(world: World) -> None:
    delivery = world.deliver()
    insert(world.databases[0], "alerts", {"id": 9999, "raw_payload": raw(delivery.marker)})
    assert kinds(verdict_of(world, delivery)) == [("doubled", "sqlite", delivery.marker)]


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("alerts", "qty", 1e9),
        ("alerts", "reason", "other"),
        ("orders", "price", -1.0),
        ("orders", "side", "X"),
    ],
)
def test_an_altered_column_is_found_and_named(world: World, table: str, column: str, value: object) -> None:
    delivery = world.deliver()
    world.databases[1].execute(f"UPDATE {table} SET {column} = ?", (value,))
    (finding,) = verdict_of(world, delivery).findings
    assert finding.kind == "different"
    assert f"{table[:-1]}.{column} is {value!r}" in finding.detail


def test_rows_under_other_ids_than_answered_are_found(world: World) -> None:
    delivery = world.deliver()
    (finding,) = verdict_of(world, replace(delivery, order_id=77)).findings[:1]
    assert finding.kind == "different"
    assert "77" in finding.detail


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.FAILED])
def test_rows_of_a_refused_delivery_are_found(world: World, outcome: Outcome) -> None:
    there, absent = world.deliver(outcome), world.deliver(outcome, stored=False)
    verdict = verdict_of(world, there, absent)
    assert kinds(verdict) == [("refused_but_stored", "sqlite", there.marker)] * 2


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.CUT_OFF])
def test_a_delivery_of_which_nobody_knows_may_be_there_or_not_but_not_by_half(
    world: World, outcome: Outcome
) -> None:
    there, absent, half = world.deliver(outcome), world.deliver(outcome, stored=False), world.deliver(outcome)
    assert verdict_of(world, there, absent, half).clean
    number = int(half.marker.split("-")[1])
    world.databases[1].execute("DELETE FROM orders WHERE alert_id = ?", (number,))
    assert kinds(verdict_of(world, there, absent, half)) == [("different", "sqlite", half.marker)]


@pytest.mark.parametrize(
    ("order", "endings", "kind"),
    [
        ({"mode": "MANUAL"}, 1, None),
        ({"mode": "MANUAL"}, 0, "lost"),
        ({"mode": "MANUAL"}, 2, "doubled"),
        ({"mode": "MANUAL", "error_message": "put aside"}, 0, None),
        ({"mode": "AUTO", "status": "SENT"}, 1, None),
        ({"mode": "AUTO", "status": "SENT"}, 0, "lost"),
        ({"mode": "AUTO", "status": "SENT"}, 2, "doubled"),
        ({"mode": "AUTO", "status": "SENDING"}, 1, "doubled"),
        ({"mode": "AUTO", "status": "FAILED"}, 0, None),
    ],
)
def test_the_event_that_ends_a_signal_is_counted(
    world: World, order: dict[str, str], endings: int, kind: str | None
) -> None:
    delivery = world.deliver()
    expected = {"alert": (delivery.expected or {})["alert"]}
    values = ", ".join(f"{name} = ?" for name in order)
    world.databases[1].execute(f"UPDATE orders SET {values}", tuple(order.values()))
    world.databases[1].execute("DELETE FROM system_events WHERE ? = 0", (endings,))
    if endings == 2:
        world.databases[1].execute(
            "INSERT INTO system_events (message, details) SELECT message, details FROM system_events"
        )
    found = kinds(verdict_of(world, replace(delivery, expected=expected)))
    assert found == ([(kind, "sqlite", delivery.marker)] if kind else [])


def test_rows_that_nobody_sent_are_found(world: World) -> None:
    first, second = world.deliver(), world.deliver()
    assert kinds(verdict_of(world, first)) == [("different", "sqlite", second.marker)] * 2


def test_the_last_acknowledged_write_of_a_row_counts(world: World) -> None:
    key = {"symbol": "SBIN", "ts": "2026-03-02 09:15:00.000000"}
    for database in world.databases:
        insert(database, "candles", {**key, "close": 2.5})
    told = [Fact("candles", key, {"close": 1.5}), Fact("candles", key, {"close": 2.5})]
    assert verdict_of(world, *told).clean
    world.databases[1].execute("UPDATE candles SET close = 1.5")
    assert [finding.kind for finding in verdict_of(world, *told).findings] == ["different"]
    doubtful = Fact("candles", key, {"close": 1.5}, acknowledged=False)
    assert verdict_of(world, *told, doubtful).clean
    world.databases[0].execute("DELETE FROM candles")
    assert [finding.kind for finding in verdict_of(world, *told, doubtful).findings] == ["lost"]


def test_an_edited_order_is_held_to_its_edit_instead_of_its_signal(world: World) -> None:
    delivery = world.deliver()
    edit = Fact("orders", {"id": delivery.order_id}, {"qty": 4.0})
    for database in world.databases:
        database.execute("UPDATE orders SET qty = 4.0")
    assert not verdict_of(world, delivery).clean
    assert verdict_of(world, delivery, edit).clean


def test_the_same_rows_are_read_from_postgresql(world: World, pg_url: str) -> None:
    delivery = world.deliver()
    url = make_url(pg_url)
    conninfo = psycopg.conninfo.make_conninfo(
        host=url.host, port=url.port, user=url.username, password=url.password, dbname=url.database
    )
    with psycopg.connect(conninfo) as connection:
        for table in ("alerts", "orders", "system_events"):
            cursor = world.databases[0].execute(f"SELECT * FROM {table}")
            names = [column[0] for column in cursor.description]
            kinds_ = {"id": "bigint", "alert_id": "bigint", "qty": "float8", "price": "float8"}
            columns = ", ".join(f"{name} {kinds_.get(name, 'text')}" for name in names)
            connection.execute(f"CREATE TABLE {table} ({columns})".encode())
            for row in cursor:
                marks = ", ".join(["%s"] * len(row))
                connection.execute(f"INSERT INTO {table} VALUES ({marks})".encode(), row)
    side = PostgresSide(conninfo)
    assert judge(RUN, [delivery], [*world.sides, side]).clean
    with psycopg.connect(conninfo) as connection:
        connection.execute("UPDATE alerts SET symbol = 'NSE:OTHER'")
    (finding,) = judge(RUN, [delivery], [*world.sides, side]).findings
    assert (finding.kind, finding.side) == ("different", "postgres")
    side.close()
