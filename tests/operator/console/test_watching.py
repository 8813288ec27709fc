"""What the console shows is true, whoever is away, costs one look for all, and shows no secret."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import psycopg
import pytest

from app.db.common.errors import ShadowUnavailable
from app.db.common.urls import Pair, make_pair, parse_url
from app.db.sides.stores import Stores
from loadtests.stage.embedded import PASSWORD
from migration.common import sides as opened
from migration.console import collector as collecting
from migration.console.collector import POINTS, Collector, pauses
from migration.console.details import details
from migration.console.door import door
from tests.operator.sides import Sides, assert_no_secret

AtStage = Callable[[str], Sides]


def pair_of(sides: Sides) -> Pair:
    return make_pair(parse_url(f"sqlite:///{sides.path}", name="x"), parse_url(sides.url, name="x"))


def looked(sides: Sides, looks: int = 1) -> tuple[Collector, dict[str, Any]]:
    pair = pair_of(sides)
    collector = Collector(pair, lambda: opened.open_stores(pair))
    for _ in range(looks):
        collector.look()
    collector._close()
    text = collector.state.decode()
    assert_no_secret(text)
    return collector, json.loads(text)


def test_a_verified_pair_is_shown_whole(at_stage: AtStage) -> None:
    sides = at_stage("verified")
    _, state = looked(sides, 2)
    assert (state["status"]["state"], state["status"]["next"]) == ("replicating", "st-migrate cutover")
    assert state["database"] == sides.database
    assert {gate["ok"] for gate in state["gates"]} == {True}
    assert state["health"]["postgres"]["bytes"] > 0 and state["health"]["sqlite"]["bytes"] > 0
    assert "verify" in [event["event"] for event in state["history"]]
    assert state["light"]["lag"] == 0


def test_a_change_is_seen_at_the_next_look(at_stage: AtStage) -> None:
    sides = at_stage("verified")
    pair = pair_of(sides)
    collector = Collector(pair, lambda: opened.open_stores(pair))
    collector.look()
    sides.run("pause")
    sides.sqlite("UPDATE alerts SET qty = 5 WHERE id = 1")
    collector.look()
    collector._close()
    state = json.loads(collector.state)
    assert state["status"]["paused"] and state["light"]["lag"] == 1
    assert state["light"]["written"] > 0 and state["light"]["applied"] == 0


def test_what_costs_more_is_not_asked_each_second(at_stage: AtStage, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = collecting.postgres_health
    monkeypatch.setattr(collecting, "postgres_health", lambda stores: asked.append(1) or real(stores))
    looked(at_stage("verified"), 5)
    assert len(asked) == 1


def watching(sides: Sides) -> Collector:
    pair = pair_of(sides)
    return Collector(pair, lambda: opened.open_stores(pair))


def test_a_look_each_second_is_a_dozen_statements(at_stage: AtStage, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = psycopg.Cursor.execute

    def noted(cursor: Any, query: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(str(query))
        return real(cursor, query, *arguments, **options)

    collector = watching(at_stage("verified"))
    collector.look()
    monkeypatch.setattr(psycopg.Cursor, "execute", noted)
    collector.look()
    assert 0 < len(asked) <= 12, asked
    collector._close()


def test_what_happens_again_and_again_does_not_end_the_rests() -> None:
    seldom, looks = collecting.Seldom(), 0
    for sign in range(collecting.BURST * 3):
        if seldom.is_due(sign):
            looks += 1
            with seldom.look(sign):
                pass
    assert looks == 1 + collecting.BURST
    seldom.soon()  # what an operator did on the page
    assert seldom.is_due(sign)


def test_gates_that_take_too_long_leave_the_figures_and_no_next_command(
    at_stage: AtStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a schema of thousands of tables, or on a server that is busy."""
    real = collecting.status.until_cutover

    def late(stores: Stores, source: Any) -> Any:
        stores.finish_by(time.monotonic())
        return real(stores, source)

    monkeypatch.setattr(collecting.status, "until_cutover", late)
    collector = watching(at_stage("verified"))
    for _ in range(2):
        collector.look()
        state = json.loads(collector.state)
        assert state["status"]["state"] == "replicating" and "problem" not in state["light"]
        assert state["status"]["blocks"] == [
            "PostgreSQL has not answered in time; the connection was given up"
        ]
        assert state["status"]["next"] is None
    collector._close()


def test_a_server_that_comes_back_is_asked_for_its_gates_at_once(
    at_stage: AtStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = watching(at_stage("verified"))
    collector.look()
    with monkeypatch.context() as patch:
        patch.setattr(
            collecting.status, "_read_postgres", lambda store, side: setattr(side, "reachable", False)
        )
        collector.look()
    assert json.loads(collector.state)["gates"] == []
    collector.look()
    assert len(json.loads(collector.state)["gates"]) > 5
    collector._close()


def test_what_nobody_expected_is_a_line_and_not_the_end(
    at_stage: AtStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = watching(at_stage("verified"))
    with monkeypatch.context() as patch:
        patch.setattr(collecting.status, "gather", lambda *a, **k: [].pop())
        collector.look()
    assert "pop from empty list" in json.loads(collector.state)["light"]["problem"]
    collector.look()
    assert "problem" not in json.loads(collector.state)["light"]
    collector._close()


def test_sqlite_is_shown_while_postgres_is_away(at_stage: AtStage) -> None:
    sides = replace(at_stage("verified"))
    away = str(parse_url(sides.url, name="x").set(port=1).render_as_string(hide_password=False))
    _, state = looked(replace(sides, url=away))
    assert state["status"]["state"] == "postgres_unreachable"
    assert not state["status"]["sides"]["postgres"]["reachable"]
    assert state["health"]["postgres"] is None


def test_a_missing_file_is_a_line_on_the_page(at_stage: AtStage, tmp_path: Path) -> None:
    _, state = looked(replace(at_stage("fresh"), path=tmp_path / "gone.db"))
    assert "no SQLite file" in state["light"]["problem"]


def test_no_error_shows_a_password(at_stage: AtStage) -> None:
    pair = pair_of(at_stage("fresh"))

    def broken() -> Stores:
        raise ShadowUnavailable(f"cannot open with {pair.postgres.password} and {quote_plus(PASSWORD)}")

    collector = Collector(pair, broken)
    collector.look()
    assert b"cannot open" in collector.state
    assert_no_secret(collector.state.decode())


def test_the_hour_is_bounded(at_stage: AtStage) -> None:
    collector, _ = looked(at_stage("fresh"))
    for _ in range(POINTS + 5):
        collector._publish({})
    assert len(collector.points) == POINTS


def test_a_clock_that_is_set_back_leaves_no_figure_of_the_future(
    at_stage: AtStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector, _ = looked(at_stage("fresh"), 2)
    before = time.time()
    monkeypatch.setattr(collecting.time, "time", lambda: before - 7200)
    collector._publish({})
    assert [point[0] for point in collector.points] == [round(before - 7200, 3)]


def test_pauses_are_read_off_the_history() -> None:
    events = [
        {"at": 1.0, "event": "switch to postgres begun"},
        {"at": 1.25, "event": "primary postgres"},
        {"at": 5.0, "event": "switch to sqlite begun"},
        {"at": 6.5, "event": "attempt ended"},
        {"at": 9.0, "event": "verify"},
    ]
    assert pauses(events) == [{"at": 1.25, "ms": 250.0}, {"at": 6.5, "ms": 1500.0}]


def test_details_hold_the_values_of_both_sides(at_stage: AtStage) -> None:
    sides = at_stage("copied")
    sides.postgres("BEGIN; SET LOCAL st.applying = '1'; UPDATE alerts SET qty = 99 WHERE id = 9; COMMIT")
    sides.sqlite("UPDATE alerts SET qty = 'many' WHERE id = 4")
    assert sides.run("verify").outcome == "mismatch"
    with opened.open_stores(pair_of(sides)) as stores:
        found = details(stores)
    (mismatch,) = found["mismatches"]
    (differing,) = [value for value in mismatch["values"] if value["differs"]]
    assert (mismatch["table"], mismatch["key"]) == ("alerts", "9")
    assert (differing["column"], differing["sqlite"], differing["postgres"]) == ("qty", "9.0", "99.0")
    (held,) = found["quarantine"]
    assert {"column": "qty", "value": '"many"'} in held["values"]


def test_the_door_is_read_off_a_backends_metrics(tmp_path: Path) -> None:
    page = tmp_path / "metrics"
    page.write_text(
        "st_webhook_queue 3\nst_webhook_group_size_count 4\nst_webhook_group_size_sum 40\n"
        "# TYPE st_webhook_refused counter\nst_webhook_refused_total 2\n"
    )
    assert door(page.as_uri()) == {"queue": 3, "groups": 4, "deliveries": 40, "refused": 2}
    assert "error" in door("http://127.0.0.1:1/metrics")
