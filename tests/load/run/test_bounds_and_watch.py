"""Bounds notice everything that goes beyond them; the watch measures the lag that there is."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from app.db.apply.round import Applier
from app.db.common.settings import load_settings
from app.db.common.urls import make_pair, parse_url
from app.db.revisions.chain import upgrade_head
from app.db.revisions.source import Alembic
from app.db.sides.stores import Stores
from loadtests.judge.bounds import checks
from loadtests.judge.figures import Latency
from loadtests.judge.measured import Measured
from loadtests.judge.oracle import Finding, Verdict
from loadtests.judge.watch import Sample, Watch
from loadtests.stage.embedded import EmbeddedPostgres
from loadtests.traffic.profiles import Bounds
from migration.fill.backfill import Backfill
from migration.fill.prepare import prepare

BOUNDS = Bounds(p99_ms=1500)
CALM = Measured(
    Verdict(acknowledged=5),
    Latency(20.0, 900.0, 950.0),
    [("1, cutover", 60.0)],
    [0.002] * 99 + [4.0],
    [0.9],
    0,
)
TIMEOUT_S = 20.0


def broken(measured: Measured) -> list[str]:
    return [check.what for check in checks(BOUNDS, measured) if not check.held]


def test_a_calm_run_holds_and_every_bound_has_its_reason() -> None:
    assert broken(CALM) == []
    assert all(check.reason for check in checks(BOUNDS, CALM))


@pytest.mark.parametrize(
    ("measured", "what"),
    [
        (
            replace(CALM, verdict=Verdict(findings=[Finding("lost", "sqlite", "m", "")])),
            "lost, doubled or altered",
        ),
        (replace(CALM, verdict=Verdict(failed=1)), "failed deliveries"),
        (replace(CALM, verdict=Verdict(unknown=1)), "unanswered deliveries"),
        (replace(CALM, verdict=Verdict(cut_off=1)), "unanswered deliveries"),
        (replace(CALM, failed_requests=1), "failed requests of any kind"),
        (replace(CALM, pauses=[("2, rollback", 251.0)]), "pause: 2, rollback"),
        (replace(CALM, times=Latency(20.0, 1501.0, 1501.0)), "answers outside of switches, p99"),
        (replace(CALM, lags=[0.002] * 98 + [0.051] * 2), "lag, p99"),
        (replace(CALM, near=[0.0, 1.1]), "lag while a switch's command runs, highest"),
    ],
)
def test_each_bound_notices_what_goes_beyond_it(measured: Measured, what: str) -> None:
    assert broken(measured) == [what]


def test_lags_are_those_of_replicating_outside_of_switches(tmp_path: Path) -> None:
    watch = Watch(tmp_path / "none.db", "")
    watch.samples = [
        Sample(1.0, "copying", "sqlite", 1, 900, 9.0),
        Sample(2.0, "replicating", "sqlite", 1, 1, 0.02),
        Sample(3.0, "replicating", "sqlite", 1, 5, 0.5),
        Sample(4.0, "replicating", "postgres", 2, 0, 0.0),
    ]
    assert watch.lags(outside=[(2.9, 3.1)]) == [0.02, 0.0]
    assert watch.lags(inside=[(2.9, 3.1)]) == [0.5]
    assert watch.began(2) == 4.0
    assert watch.highest_lag() == (5, 0.5)


def test_the_watch_sees_the_age_of_a_change_and_that_it_was_applied(
    tmp_path: Path, postgres_server: EmbeddedPostgres, pg_url: str
) -> None:
    path = tmp_path / "sigma.db"
    upgrade_head(f"sqlite:///{path}")
    pair = make_pair(parse_url(f"sqlite:///{path}", name="a"), parse_url(pg_url, name="b"))
    applier = Applier(Stores.open(pair, load_settings()))
    prepare(pair, applier.stores, Alembic(), report=lambda line: None)
    Backfill(applier).run()
    watch = Watch(path, postgres_server.dsn(str(make_url(pg_url).database)))
    watch.start()
    try:
        until(lambda: watch.samples and watch.samples[-1].lag_changes == 0)
        with sqlite3.connect(path) as database:
            database.execute("INSERT INTO system_events (level, category, message) VALUES ('INFO', 'c', 'm')")
        database.close()
        committed = time.time()
        until(lambda: watch.samples[-1].lag_seconds > 0.1)
        seen = watch.samples[-1]
        assert seen.lag_changes == 1
        assert seen.lag_seconds >= seen.at - committed - 0.001
        applier.drain()
        until(lambda: watch.samples[-1].lag_changes == 0)
        gaps = [b.at - a.at for a, b in zip(watch.samples, watch.samples[1:], strict=False)]
        assert sorted(gaps)[len(gaps) // 2] < 0.03, "it looks often enough for a lag of 50 ms"
    finally:
        watch.stop()
        applier.stores.close()
    assert watch.cpu_s > 0
    engine = create_engine(pg_url)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM system_events WHERE message = 'm'")) == 1
    engine.dispose()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)
