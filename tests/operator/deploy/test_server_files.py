"""The files for PostgreSQL and Prometheus are accepted by the programs that they are for."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from prometheus_client import REGISTRY, Counter, Gauge, Histogram

import app.db.common.metrics
from app.core import metrics as core_metrics
from app.db.common.urls import Side
from app.retention import metrics as retention_metrics
from app.roles import metrics as role_metrics
from app.services.shared.jobs import metrics as jobs_metrics
from app.services.webhook.door import metrics as door_metrics
from loadtests.stage.embedded import EmbeddedPostgres
from tests.operator.deploy.servers import DEPLOY
from tests.support.programs import find

RULES: list[dict[str, Any]] = yaml.safe_load(
    (DEPLOY / "prometheus" / "alerts.yml").read_text(encoding="utf-8")
)["groups"][0]["rules"]


def test_the_server_starts_with_our_configuration(tmp_path: Path) -> None:
    server = EmbeddedPostgres()
    config = Path(shutil.copy(DEPLOY / "postgres" / "postgresql.conf", server.base / "postgresql.conf"))
    config.chmod(0o644)
    # What is overridden here is where it listens, and nothing else.
    server.settings = {"config_file": str(config), "listen_addresses": "127.0.0.1"}
    with server, psycopg.connect(server.dsn()) as connection:
        rows = connection.execute(
            "SELECT f.name, f.applied, s.setting "
            "FROM pg_file_settings f LEFT JOIN pg_settings s ON lower(s.name) = lower(f.name)"
        ).fetchall()
    assert len(rows) == len(re.findall(r"^[\w.]+ = ", config_text(), re.MULTILINE))
    assert [name for name, applied, _ in rows if not applied] == ["listen_addresses"]
    settings = {name: setting for name, _, setting in rows}
    assert settings["timezone"] == "UTC"
    assert settings["idle_in_transaction_session_timeout"] == "60000"


def config_text() -> str:
    return (DEPLOY / "postgres" / "postgresql.conf").read_text(encoding="utf-8")


def samples() -> dict[str, set[str]]:
    """Every sample name of our own that /metrics can show, with its labels."""
    modules = (
        core_metrics,
        app.db.common.metrics,
        door_metrics,
        jobs_metrics,
        retention_metrics,
        role_metrics,
    )
    own = {
        value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, Counter | Gauge | Histogram) and name.isupper() and not value._labelvalues
    }
    found: dict[str, set[str]] = {}
    for collector in own:
        labels = set(collector._labelnames)
        for family in collector.describe():
            suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
            for suffix in suffixes.get(family.type, ("",)):
                found[family.name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_names_metrics_and_labels_that_exist(rule: dict[str, Any]) -> None:
    known = samples() | {"up": {"job", "instance"}}  # Prometheus' own
    named = re.findall(r"\b(st_\w+|up)\b(?:\{(\w+)=)?", rule["expr"])
    assert named
    for metric, label in named:
        assert metric in known, metric
        assert not label or label in known[metric], label
    by = re.findall(r"by \((\w+)\)", rule["expr"])
    assert all(any(label in known[metric] for metric, _ in named) for label in by)
    assert rule["annotations"]["summary"]


def test_the_registry_is_the_one_that_is_served() -> None:
    assert {name for family in REGISTRY.collect() for name in [family.name]} >= {
        "st_lag_seconds",
        "st_primary",
    }
    assert {str(side) for side in Side} == {"sqlite", "postgres"}


@pytest.mark.needs_program("promtool")
def test_promtool_accepts_configuration_and_rules() -> None:
    checked = subprocess.run(
        [str(find("promtool")), "check", "config", str(DEPLOY / "prometheus" / "prometheus.yml")],
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(RULES)} rules found" in checked.stdout + checked.stderr
