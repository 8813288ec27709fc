"""Every expression of dashboards and alerts has an answer in a Prometheus that scrapes a loaded backend and its server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from loadtests.stage import sample
from loadtests.stage.embedded import free_port
from loadtests.stage.processes import WEBHOOK_SECRET, kill_group
from loadtests.stage.stage import DATABASE, Stage
from loadtests.traffic.ledger import Ledger
from loadtests.traffic.sender import Sender
from loadtests.traffic.signals import Signals, fresh_run
from tests.operator.deploy.servers import DEPLOY, execute
from tests.operator.deploy.watched.test_alert_rules import RULES
from tests.support.pairs import wait_until
from tests.support.programs import find

PRELOADED = "pg_stat_statements,auto_explain"
COMPARED = re.compile(r"\s+(?:and on\(\)|==|[<>]=?)\s+")
NUMBER = re.compile(r"[\d.e* +]+")
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
pytestmark = [
    pytest.mark.needs_program("prometheus"),
    pytest.mark.needs_program("prometheus-postgres-exporter"),
]


def asked() -> dict[str, str]:
    """Every expression by where it stands; of an alert what is compared, since a quiet alert answers nothing."""
    found = {}
    for name, rule in RULES.items():
        parts = [part for part in COMPARED.split(rule["expr"]) if not NUMBER.fullmatch(part)]
        found |= {f"{name} {number}": part for number, part in enumerate(parts)}
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", ()):
                found[f"{file.stem}: {panel['title']} {target['refId']}"] = target["expr"]
    return found


class Prometheus:
    """Debian's Prometheus with our configuration; addresses and the interval are changed."""

    def __init__(self, folder: Path, targets: dict[str, int]) -> None:
        config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
        config["global"]["scrape_interval"] = "1s"
        del config["alerting"]
        config["rule_files"] = [str(DEPLOY / "prometheus" / name) for name in config["rule_files"]]
        config["scrape_configs"] = [job for job in config["scrape_configs"] if job["job_name"] in targets]
        for job in config["scrape_configs"]:
            job.pop("scrape_interval", None)
            job["static_configs"] = [{"targets": [f"127.0.0.1:{targets[job['job_name']]}"]}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
        self.port = free_port()
        self.command = [
            str(find("prometheus")), f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address=127.0.0.1:{self.port}",
        ]  # fmt: skip

    def ask(self, expression: str) -> list[Any]:
        """The answer of now; empty while Prometheus does not answer, AssertionError if it refuses the expression."""
        query = urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}/api/v1/query?{query}", timeout=10
            ) as answer:
                return list(json.load(answer)["data"]["result"])
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 503:  # it is starting
                    return []
                raise AssertionError(f"{expression}: {error.read().decode()}") from None
        except OSError:
            return []


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Prometheus]:
    """A pair in sync mode under webhooks, the exporter, the keeper, and Prometheus, all running."""
    folder = tmp_path_factory.mktemp("watched")
    with Stage(workers=1) as stage, ExitStack() as open_:
        stage.postgres.settings |= {"shared_preload_libraries": PRELOADED}
        with pytest.MonkeyPatch.context() as patch:  # a small database is enough here
            patch.setattr(sample, "make", lambda path, seed: shutil.copy(sqlite_template, path))
            stage.set_up()
        sql = (DEPLOY / "postgres" / "monitoring.sql").read_text(encoding="utf-8")
        execute(
            stage.postgres_url,
            [*filter(str.strip, sql.split(";")), "ALTER ROLE sigma_monitor PASSWORD 'monitor'"],
        )
        assert stage.migrate().run("run").exit == 0

        def start(command: list[str], **env: str) -> None:
            with (folder / "log").open("ab") as log:
                process = subprocess.Popen(
                    command, env={**os.environ, **env}, stdout=log, stderr=log, start_new_session=True
                )
            open_.callback(kill_group, process)

        targets = {"sigmatrader": 0, "postgresql": free_port(), "backup": free_port()}
        options = _exporter_options()
        start(
            [str(find("prometheus-postgres-exporter")), *options, f"--web.listen-address=127.0.0.1:{targets['postgresql']}"],
            DATA_SOURCE_NAME=f"host=127.0.0.1 port={stage.postgres.port} user=sigma_monitor password=monitor "
            f"dbname={DATABASE} sslmode=disable",
        )  # fmt: skip
        start(
            [
                sys.executable,
                str(DEPLOY / "backup" / "keeper.py"),
                "--listen",
                f"127.0.0.1:{targets['backup']}",
            ]
        )
        backend = stage.backend(stage.env(ST_WEBHOOK_DISPATCH="queue")).start()
        targets["sigmatrader"] = backend.port
        signals = Signals(fresh_run(), stage.users, seed=1)
        ledger = Ledger(stage.ledger_path)
        open_.callback(ledger.close)
        sender = Sender(signals, WEBHOOK_SECRET, ledger, target=backend.port, rate=20)
        sender.start()
        open_.callback(sender.stop)
        watching = Prometheus(folder, targets)
        start(watching.command)
        wait_until(lambda: len(watching.ask("rate(st_webhook_wait_seconds_count[1m]) > 0")) == 1, seconds=60)
        yield watching


def _exporter_options() -> list[str]:
    """As docs/monitoring.md and compose.yaml have them."""
    page = (DEPLOY.parent / "docs" / "monitoring.md").read_text(encoding="utf-8")
    options = re.findall(r"--(?:no-|disable-|extend)[\w.-]+(?:=\S+)?", page)
    assert len(options) == 5
    return [option.replace("deploy/", f"{DEPLOY}/") for option in options]


def test_every_expression_has_an_answer_and_no_alert_of_a_sound_system_fires(prometheus: Prometheus) -> None:
    silent = asked()
    deadline = time.monotonic() + 60
    while silent and time.monotonic() < deadline:
        silent = {where: expr for where, expr in silent.items() if not prometheus.ask(expr)}
        time.sleep(0.5)
    assert silent == {}
    assert {answer["metric"]["job"] for answer in prometheus.ask("up == 1")} == {
        "sigmatrader",
        "postgresql",
        "backup",
    }
    assert (
        prometheus.ask("pg_exporter_user_queries_load_error > 0 or pg_exporter_last_scrape_error > 0") == []
    )
    pending = {answer["metric"]["alertname"] for answer in prometheus.ask("ALERTS")}
    assert pending <= {"BackupTooOld", "FullBackupTooOld", "BackupsUnreadable"}  # there is no repository here
