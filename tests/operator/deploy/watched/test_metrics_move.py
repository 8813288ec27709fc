"""The metrics behind the alerts move when what they are for happens."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from app.db.session.application import http
from app.db.session.runtime import runtime
from app.db.switch.state.readiness import ApplyState
from loadtests.stage.embedded import EmbeddedPostgres
from tests.operator.deploy.conftest import Backend, Migrate, write_alert
from tests.operator.deploy.servers import DEPLOY, execute
from tests.support.pairs import connect, wait_until


def value(name: str) -> float:
    return REGISTRY.get_sample_value(name) or 0.0


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """A file that the command of `on-degraded` makes."""
    return tmp_path / "told"


@pytest.fixture
def replicating(roles: EmbeddedPostgres, migrate: Migrate, backend: Backend, told: Path) -> EmbeddedPostgres:
    url = roles.url("sigma", user="sigma_owner")
    assert migrate(url, "run").outcome == (0, "ready")
    current = backend(url, dual_write="sync", dual_write_timeout_ms=300, hook_on_degraded=f"touch '{told}'")
    write_alert("FIRST")
    wait_until(lambda: current.replicator.health().phase == "replicating")
    return roles


def test_an_outage_of_postgres_shows_as_lag(replicating: EmbeddedPostgres, told: Path) -> None:
    replicating.stop()
    write_alert("MEANWHILE")
    write_alert("MEANWHILE")
    wait_until(lambda: value("st_lag_seconds") > 0.5)
    assert value("st_lag_changes") >= 2
    assert value("st_degraded") == 1
    wait_until(told.exists)
    replicating.start()
    wait_until(lambda: value("st_degraded") == 0)
    assert value("st_lag_changes") == 0


def test_a_row_in_quarantine_is_counted(replicating: EmbeddedPostgres, sqlite_path: Path) -> None:
    connection = sqlite3.connect(sqlite_path, isolation_level=None)
    connection.execute("UPDATE alerts SET qty = 'not a number' WHERE id = 3")
    wait_until(lambda: scraped("st_quarantined_rows") == 1)
    connection.execute("UPDATE alerts SET qty = 3 WHERE id = 3")
    wait_until(lambda: scraped("st_quarantined_rows") == 0)
    connection.close()


def scraped(name: str) -> float:
    """A sample of a scrape, as Prometheus gets it."""
    wait_until(lambda: time.monotonic() >= runtime().observer._next)  # a look is believed for a second
    text = bytes(http.metrics().body).decode()
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{name} "))


def age_what_waits(url: str, path: Path) -> None:
    """Let a minute pass since what has not been applied yet. The time of an entry that was applied tells its file."""
    with connect(url) as postgres:
        (position,) = postgres.execute("SELECT position FROM st_watermark WHERE id = 1").fetchone() or ("0",)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE st_change_log SET at = at - 60 WHERE seq > ?", (int(position),))
    connection.close()


def test_a_pause_shows_at_once_and_its_lag_grows(
    replicating: EmbeddedPostgres, migrate: Migrate, sqlite_path: Path
) -> None:
    url = replicating.url("sigma", user="sigma_owner")
    assert scraped('st_apply_state{state="applying"}') == 1
    assert migrate(url, "pause").code == 0
    write_alert("PAUSED")
    age_what_waits(url, sqlite_path)
    assert scraped('st_apply_state{state="paused"}') == 1
    assert scraped("st_lag_seconds") > 59 and scraped("st_lag_changes") >= 1
    body = json.loads(bytes(http.ready().body))
    assert body["apply"] == "paused" and body["lag_seconds"] > 59
    assert migrate(url, "resume").code == 0
    wait_until(lambda: scraped('st_apply_state{state="applying"}') == 1 and scraped("st_lag_seconds") == 0)


def test_an_applier_that_is_missing_shows(
    roles: EmbeddedPostgres, migrate: Migrate, backend: Backend, sqlite_path: Path
) -> None:
    url = roles.url("sigma", user="sigma_owner")
    assert migrate(url, "run").outcome == (0, "ready")
    backend(url, dual_write="off")
    write_alert("NOBODY")
    age_what_waits(url, sqlite_path)
    execute(url, ["UPDATE st_watermark SET applied_at = applied_at - 60"])
    assert scraped('st_apply_state{state="missing"}') == 1
    assert scraped('st_primary{side="sqlite"}') == scraped('st_phase{phase="replicating"}') == 1
    assert scraped("st_writable_sides") == 1
    assert scraped("st_lag_seconds") > 59


def test_apply_that_stands_still_shows_with_the_reason(
    replicating: EmbeddedPostgres, sqlite_path: Path
) -> None:
    connection = sqlite3.connect(sqlite_path, isolation_level=None)
    connection.execute("ALTER TABLE alerts ADD COLUMN extra TEXT")
    connection.close()
    assert scraped('st_apply_state{state="standing"}') == 1
    body = json.loads(bytes(http.ready().body))
    assert "column alerts.extra is only on SQLite" in body["blocks"][0] and "by hand" in body["blocks"][0]


def test_alerts_ask_for_states_that_exist() -> None:
    rules = (DEPLOY / "prometheus" / "alerts.yml").read_text(encoding="utf-8")
    asked = set(re.findall(r'state="(\w+)"', rules))
    assert asked and asked <= {str(state) for state in ApplyState}


def test_two_writable_sides_are_counted_fenced_and_said(
    replicating: EmbeddedPostgres, caplog: pytest.LogCaptureFixture
) -> None:
    wait_until(lambda: value("st_writable_sides") == 1)
    with connect(replicating.url("sigma")) as connection:
        connection.execute("UPDATE st_control SET writable = true")
    wait_until(lambda: value("st_writable_sides") == 2)
    wait_until(lambda: value("st_writable_sides") == 1)
    assert "both sides take application writes" in caplog.text
