"""The metrics behind the alerts move when what they are for happens."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from loadtests.stage.embedded import EmbeddedPostgres
from tests.operator.deploy.conftest import Backend, Migrate, write_alert
from tests.support.pairs import connect, wait_until


def value(name: str) -> float:
    return REGISTRY.get_sample_value(name) or 0.0


@pytest.fixture
def replicating(roles: EmbeddedPostgres, migrate: Migrate, backend: Backend) -> EmbeddedPostgres:
    url = roles.url("sigma", user="sigma_owner")
    assert migrate(url, "run").outcome == (0, "ready")
    current = backend(url, dual_write="sync", dual_write_timeout_ms=300)
    write_alert("FIRST")
    wait_until(lambda: current.replicator.health().phase == "replicating")
    return roles


def test_an_outage_of_postgres_shows_as_lag(replicating: EmbeddedPostgres) -> None:
    replicating.stop()
    write_alert("MEANWHILE")
    write_alert("MEANWHILE")
    wait_until(lambda: value("st_lag_seconds") > 0.5)
    assert value("st_lag_changes") >= 2
    assert value("st_degraded") == 1
    replicating.start()
    wait_until(lambda: value("st_degraded") == 0)
    assert value("st_lag_changes") == 0


def test_a_row_in_quarantine_is_counted(replicating: EmbeddedPostgres, sqlite_path: Path) -> None:
    connection = sqlite3.connect(sqlite_path, isolation_level=None)
    connection.execute("UPDATE alerts SET qty = 'not a number' WHERE id = 3")
    wait_until(lambda: value("st_quarantined_rows") == 1)
    connection.execute("UPDATE alerts SET qty = 3 WHERE id = 3")
    wait_until(lambda: value("st_quarantined_rows") == 0)
    connection.close()


def test_two_writable_sides_are_counted_fenced_and_said(
    replicating: EmbeddedPostgres, caplog: pytest.LogCaptureFixture
) -> None:
    wait_until(lambda: value("st_writable_sides") == 1)
    with connect(replicating.url("sigma")) as connection:
        connection.execute("UPDATE st_control SET writable = true")
    wait_until(lambda: value("st_writable_sides") == 2)
    wait_until(lambda: value("st_writable_sides") == 1)
    assert "both sides take application writes" in caplog.text
