"""What a start needs, what it generates, and what it says."""

from __future__ import annotations

import logging
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from app.core import config
from app.core import secrets as start_secrets
from app.core.config import Settings
from app.core.secrets import MissingSecrets, missing_secrets, require_secrets, say_what_is_open
from loadtests.stage.embedded import free_port
from tests.backend.secure.conftest import ROOT, SECRETS, deployed_environment


def settings_of(**values: str | None) -> Settings:
    chosen = {name.removeprefix("ST_").lower(): value for name, value in SECRETS.items()}
    return Settings(_env_file=None, **chosen | values)  # type: ignore[arg-type]


@pytest.fixture
def no_test_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_secrets, "running_under_pytest", lambda: False)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_deployment_does_not_start_without_secrets(tmp_path: Path, workers: int) -> None:
    blank = dict.fromkeys(SECRETS, "")
    environment = deployed_environment(
        ST_ENVIRONMENT="prod", ST_DATABASE_URL=f"sqlite:///{tmp_path / 'a.db'}", **blank
    )
    started = subprocess.run(
        [sys.executable, "-m", "uvicorn", "app.main:app", "--port", str(free_port()), "--workers", str(workers)],
        cwd=ROOT / "backend", env=environment, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert started.returncode != 0 or workers > 1  # the supervisor of several ends by itself
    lines = {line for line in started.stderr.splitlines() if line.startswith("ST_")}
    assert {line.split()[0] for line in lines} == set(SECRETS)
    assert all("Set it in the environment or in .env; `make env` writes" in line for line in lines)
    assert "Traceback" not in started.stderr
    assert not (tmp_path / "a.db").exists()


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("value", [None, "", "   ", "change-me", "Admin"])
@pytest.mark.usefixtures("no_test_run")
def test_one_missing_secret_is_enough(tmp_path: Path, name: str, value: str | None) -> None:
    member = name.removeprefix("ST_").lower()
    settings = settings_of(environment="production", **{member: value})
    with pytest.raises(MissingSecrets) as refused:
        require_secrets(settings, tmp_path / "generated")
    assert [line.split()[0] for line in refused.value.lines] == [name]
    assert not (tmp_path / "generated").exists()


@pytest.mark.parametrize("environment", ["dev", "Test "])
@pytest.mark.usefixtures("no_test_run", "own_stdout")
def test_development_generates_what_is_missing_once(
    tmp_path: Path, environment: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / ".env.generated"
    first = settings_of(environment=environment, crypto_key=None, admin_password=" ")
    second = settings_of(environment=environment, crypto_key=None, tradingview_webhook_secret=None)
    with caplog.at_level(logging.DEBUG):
        require_secrets(first, file)
        require_secrets(second, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == [file.name]
    assert first.crypto_key == second.crypto_key
    assert first.tradingview_webhook_secret == SECRETS["ST_TRADINGVIEW_WEBHOOK_SECRET"]
    assert missing_secrets(first) == missing_secrets(second) == []
    values = [first.crypto_key, first.admin_password, second.tradingview_webhook_secret]
    assert len({value for value in values if value and len(value) >= 32}) == 3
    assert str(file) in caplog.text and "ST_CRYPTO_KEY, ST_ADMIN_PASSWORD" in caplog.text
    assert not [value for value in values if str(value) in caplog.text]
    assert not [value for value in values if str(value) in repr(first) + repr(second)]


@pytest.mark.usefixtures("no_test_run")
def test_development_without_a_place_for_the_file_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(MissingSecrets) as refused:
        require_secrets(settings_of(crypto_key=None), tmp_path / "nowhere" / "file")
    assert "cannot be generated either" in refused.value.lines[0]


@pytest.mark.usefixtures("no_test_run")
def test_two_processes_agree_on_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, other = tmp_path / "generated", settings_of(crypto_key=None)
    link = start_secrets.os.link

    def slower(source: str, target: Path) -> None:
        monkeypatch.setattr(start_secrets.os, "link", link)
        require_secrets(other, file)  # the other process is faster
        link(source, target)

    monkeypatch.setattr(start_secrets.os, "link", slower)
    mine = settings_of(crypto_key=None)
    require_secrets(mine, file)
    assert mine.crypto_key == other.crypto_key


def test_a_variable_of_a_test_run_opens_nothing_in_a_deployment(tmp_path: Path) -> None:
    environment = deployed_environment(
        ST_ENVIRONMENT="prod", PYTEST_CURRENT_TEST="left behind",
        ST_DATABASE_URL=f"sqlite:///{tmp_path / 'a.db'}", **SECRETS,
    )  # fmt: skip
    code = (
        "from app.core.config import get_settings; from fastapi.testclient import TestClient; import app.main;"
        "s = get_settings(); c = TestClient(app.main.app);"
        "print(s.database_url, s.crypto_key, c.get('/api/webhook-settings/tradingview-secret').status_code)"
    )
    run = [sys.executable, "-W", "ignore", "-c", code]
    shown = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=90, check=True)
    assert shown.stdout.splitlines()[-1] == f"sqlite:///{tmp_path / 'a.db'} crypto-key-0001 401"
    del environment["ST_CRYPTO_KEY"]
    refused = subprocess.run(
        [sys.executable, "-c", "import app.main"],
        env=environment | {"ST_CRYPTO_KEY": ""}, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert (refused.returncode, refused.stderr.split()[0]) == (3, "ST_CRYPTO_KEY")


@pytest.mark.usefixtures("own_stdout")
def test_a_start_says_what_its_settings_open(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(start_secrets, "running_under_pytest", lambda: False)
    say_what_is_open(settings_of())
    assert caplog.text == ""
    say_what_is_open(
        settings_of().model_copy(update={"any_session_is_admin": True, "allow_registration": True})
    )
    assert "every user who is logged in may read the webhook secret" in caplog.text
    assert "everybody who reaches this backend may make an account" in caplog.text


def test_make_env_writes_secrets_once(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    for name in (".env.example", "deploy/make_env.py"):
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    run = [sys.executable, "deploy/make_env.py"]
    subprocess.run(run, cwd=tmp_path, check=True, timeout=60)
    file = tmp_path / ".env"
    written = file.read_text(encoding="utf-8")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    settings = Settings(_env_file=file)
    assert not settings.in_development and missing_secrets(settings) == []
    password = re.search(r"^POSTGRES_PASSWORD=(\S{32,})$", written, re.M)
    assert password and f"postgresql://sigma:{password[1]}@" in written
    secrets = tmp_path / ".secrets"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert (secrets / "postgres_password").read_text(encoding="utf-8") == password[1]
    again = subprocess.run(run, cwd=tmp_path, check=True, timeout=60, capture_output=True, text=True)
    assert "stays as it is" in again.stdout
    assert file.read_text(encoding="utf-8") == written
    older = re.sub(r"^(BACKUP_PASS|GRAFANA_PASSWORD)=.*\n", "", written, flags=re.M).rstrip("\n")
    file.write_text(older.replace("ST_ADMIN_PASSWORD=", "ST_ADMIN_PASSWORD='mine' # x"), encoding="utf-8")
    added = subprocess.run(run, cwd=tmp_path, check=True, timeout=60, capture_output=True, text=True)
    assert "lacked BACKUP_PASS, GRAFANA_PASSWORD:" in added.stdout
    now = file.read_text(encoding="utf-8")
    assert now.startswith(older[:2000]) and re.search(r"^BACKUP_PASS=(\S{32,})$", now, re.M)
    assert (secrets / "st_admin_password").read_text(encoding="utf-8") == "mine"
    assert len((secrets / "grafana_password").read_text(encoding="utf-8")) > 32
    assert "\tpython3 deploy/make_env.py" in (ROOT / "Makefile").read_text(encoding="utf-8").replace(
        "$(PYTHON)", "python3"
    )


def test_a_secret_may_be_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, "")
        (tmp_path / name.lower()).write_text(f"{value}\n", encoding="utf-8")
    monkeypatch.setenv("ST_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("ST_CRYPTO_KEY", "the variable wins")
    monkeypatch.setattr(config, "running_under_pytest", lambda: False)
    settings = config.get_settings.__wrapped__()
    assert settings.crypto_key == "the variable wins"
    assert settings.admin_password == SECRETS["ST_ADMIN_PASSWORD"]
    assert settings.tradingview_webhook_secret == SECRETS["ST_TRADINGVIEW_WEBHOOK_SECRET"]


def test_compose_hands_every_secret_over_as_a_file() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    for service in ("backend", "worker", "jobs", "scheduler"):
        environment = compose["services"][service]["environment"]
        assert environment["ST_SECRETS_DIR"] == "/run/secrets"
        for name in SECRETS:
            assert environment[name] == "" and name.lower() in compose["services"][service]["secrets"]
            assert compose["secrets"][name.lower()] == {"file": f"./.secrets/{name.lower()}"}
        assert environment["ST_ENVIRONMENT"] == "${ST_ENVIRONMENT:-prod}"
        assert "${POSTGRES_PASSWORD:?" in environment["ST_SHADOW_DATABASE_URL"]
    file = compose["services"]["postgres"]["environment"]["POSTGRES_PASSWORD_FILE"]
    assert compose["secrets"][Path(file).name] == {"file": "./.secrets/postgres_password"}
