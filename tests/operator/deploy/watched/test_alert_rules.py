"""Each alert fires on what it is for and on nothing else, and leads to its section of the documents."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.operator.deploy.servers import DEPLOY
from tests.support.programs import find

FILES = ("alerts.yml", "postgresql.yml")
RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for file in FILES
    for group in yaml.safe_load((DEPLOY / "prometheus" / file).read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
}
# A series and its values each minute, as promtool writes them; the alert fires within two hours.
DAYS = 24 * 3600
QUIET = "0x120"
GROWS = "0+20x120"
FIRES: dict[str, dict[str, str]] = {
    "ProcessUnseen": {'up{job="sigmatrader"}': QUIET},
    "ShadowLagging": {"st_lag_seconds": "6x120"},
    "ApplyPaused": {'st_apply_state{state="paused"}': "1x120"},
    "NobodyApplies": {'st_apply_state{state="missing"}': "1x120"},
    "ApplyStandsStill": {'st_apply_state{state="standing"}': "1x120"},
    "ApplyFailing": {'st_apply_rounds_total{outcome="failed"}': GROWS},
    "DualWriteDegraded": {"st_degraded": "1x120"},
    "RowsInQuarantine": {"st_quarantined_rows": "1x120"},
    "ShadowReadsDiffer": {"st_shadow_read_mismatches_total": GROWS},
    "WritersHeldAtTheFence": {
        "st_fence_wait_seconds_count": GROWS,
        'st_fence_wait_seconds_bucket{le="1"}': QUIET,
        'st_fence_wait_seconds_bucket{le="1.5"}': GROWS,
        'st_fence_wait_seconds_bucket{le="+Inf"}': GROWS,
    },
    "TwoWritableSides": {"st_writable_sides": "2x120"},
    "TwoPrimaries": {'st_primary{side="sqlite"}': "1x120", 'st_primary{side="postgres"}': "1x120"},
    "DeliveriesRefused": {'st_webhook_refused_total{reason="full"}': GROWS},
    "DeadLetters": {'st_jobs_dead{queue="orders"}': "1x120"},
    "JobsWaitTooLong": {'st_jobs_oldest_seconds{queue="orders"}': "31x120"},
    "NobodySchedules": {"st_scheduler_leads": QUIET},
    "RetentionFailed": {"st_retention_failed_runs_total": GROWS},
    "DeliveriesAnsweredLate": {
        "st_webhook_wait_seconds_count": GROWS,
        'st_webhook_wait_seconds_bucket{le="1"}': QUIET,
        'st_webhook_wait_seconds_bucket{le="2.5"}': GROWS,
        'st_webhook_wait_seconds_bucket{le="+Inf"}': GROWS,
    },
    "PostgresqlDown": {"pg_up": QUIET},
    "ConnectionsNearTheirLimit": {'pg_connections_count{state="idle"}': "161x120"},
    "TransactionOpenForLong": {'pg_connections_oldest_transaction_seconds{state="idle"}': "301x120"},
    "LockWaits": {"pg_lock_waits_longest_seconds": "6x120"},
    "Deadlocks": {"pg_db_deadlocks_total": GROWS},
    "CheckpointsTooOften": {"pg_log_checkpoint_at_seconds": GROWS},
    "SortsOnDisk": {"pg_db_temp_bytes_total": "0+1000000000x120"},
    "DeadRows": {'pg_tables_dead_rows{name="orders"}': "16001x120"},
    "TransactionIdsRunOut": {"pg_db_frozen_age": "1100000000x120"},
    "StandbyBehind": {"pg_standbys_behind_bytes": "65000000x120"},
    "LogNotArchived": {"pg_archiver_waiting": "9x120"},
    "BackupsUnseen": {'up{job="backup"}': QUIET},
    # Prometheus' test clock begins at 1970, and the newest backup was long before.
    "BackupTooOld": {'st_backup_finished_seconds{type="incr"}': f"{-2 * DAYS}x120"},
    "FullBackupTooOld": {'st_backup_finished_seconds{type="full"}': f"{-9 * DAYS}x120"},
    "BackupFailed": {"st_backup_failed_runs_total": GROWS},
    "BackupsUnreadable": {"st_backup_readable": QUIET},
    "DamagedPages": {"st_backup_damaged_pages": "1x120"},
}
# Every series above on a good day.
HEALTHY = {series: QUIET for fires in FIRES.values() for series in fires} | {
    'st_primary{side="sqlite"}': "1x120",
    'st_primary{side="postgres"}': QUIET,
    "st_writable_sides": "1x120",
    "st_scheduler_leads": "1x120",
    "st_backup_readable": "1x120",
    "pg_up": "1x120",
    'up{job="backup"}': "1x120",
    'up{job="sigmatrader"}': "1x120",
    "pg_limits_connections": "200x120",
    'pg_tables_live_rows{name="orders"}': "20000x120",
}


def promql_tests() -> list[dict[str, Any]]:
    """One healthy day, and one day for each alert on which only its own series are bad."""
    tests: list[dict[str, Any]] = []
    for name, bad in [(None, {}), *FIRES.items()]:
        series = [{"series": at, "values": values} for at, values in (HEALTHY | bad).items()]
        firing = 'count(ALERTS{alertstate="firing"}) by (alertname)'
        expected = [{"labels": f'{{alertname="{name}"}}', "value": 1}] if name else []
        tests.append(
            {
                "interval": "1m",
                "input_series": series,
                "promql_expr_test": [{"expr": firing, "eval_time": "2h", "exp_samples": expected}],
            }
        )
    return tests


@pytest.mark.needs_program("promtool")
def test_each_alert_fires_on_its_own_day_and_on_no_other(tmp_path: Path) -> None:
    assert set(FIRES) == set(RULES)
    file = tmp_path / "days.yml"
    rules = [str(DEPLOY / "prometheus" / name) for name in FILES]
    text = yaml.safe_dump({"rule_files": rules, "evaluation_interval": "1m", "tests": promql_tests()})
    file.write_text(text, encoding="utf-8")
    checked = subprocess.run(
        [str(find("promtool")), "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, (checked.stdout + checked.stderr)[-3000:]


@pytest.mark.parametrize("name", RULES)
def test_an_alert_leads_to_its_section(name: str) -> None:
    page, _, anchor = str(RULES[name]["annotations"]["runbook"]).partition("#")
    text = (DEPLOY.parent / page).read_text(encoding="utf-8")
    (section,) = re.findall(rf"^### {name}\n\n(.+)$", text, re.MULTILINE)
    assert anchor == name.lower()
    assert "What to do:" in section


@pytest.mark.needs_program("amtool")
def test_alertmanager_accepts_its_configuration() -> None:
    file = DEPLOY / "alertmanager" / "alertmanager.yml"
    checked = subprocess.run(
        [str(find("amtool")), "check-config", str(file)], capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


def test_every_metric_has_our_prefix_and_every_gauge_a_mode_for_several_processes() -> None:
    calls = [
        node
        for file in (DEPLOY.parent / "backend" / "app").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Counter", "Gauge", "Histogram")
    ]
    metrics = [(call, ast.literal_eval(call.args[0])) for call in calls if len(call.args) > 1]
    assert metrics
    assert [name for _, name in metrics if not name.startswith("st_")] == []
    assert [
        name
        for call, name in metrics
        if ast.unparse(call.func) == "Gauge"
        and "multiprocess_mode" not in {word.arg for word in call.keywords}
    ] == []
