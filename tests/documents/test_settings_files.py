"""compose.yaml, Dockerfile and .env.example name the settings and commands that exist, all of them, and no others."""

from __future__ import annotations

import configparser
import importlib
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values
from typer.main import get_command

from app import run
from app.core.config import Role, Settings
from app.db.common.settings import ShimSettings
from app.services.brokers import secrets as broker_secrets
from migration.verbs.cli import app as cli
from tests.support.programs import find

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
EXAMPLE = ROOT / ".env.example"
_LITERAL = re.compile(r"[\"'](ST_[A-Z][A-Z0-9_]*[A-Z0-9])[\"']")
_EXAMPLE_LINE = re.compile(r"^#?([A-Z][A-Z0-9_]+)=", re.MULTILINE)
FOR_COMPOSE = {"POSTGRES_PASSWORD", "POSTGRES_ARCHIVE_MODE", "BACKUP_PASS", "GRAFANA_PASSWORD"}
# Facts that commands of the operator's find in their environment: told, and never read.
TOLD = {"ST_PRIMARY", "ST_SIDE", "ST_SIDE_ROLE", "ST_EPOCH", "ST_SQLITE_FILE"}


def settings_that_exist() -> set[str]:
    """Members of both settings classes, what is read from the environment directly, and brokers' keys."""
    members = {f"ST_{name.upper()}" for cls in (Settings, ShimSettings) for name in cls.model_fields}
    files = [*(ROOT / "backend" / "app").rglob("*.py"), *(ROOT / "migration").rglob("*.py")]
    read = {name for file in files for name in _LITERAL.findall(file.read_text(encoding="utf-8"))}
    prefixes = [p for names in broker_secrets._ENVIRONMENT.values() for p in names if p.startswith("ST_")]
    keys = {f"{prefix}{key.upper()}" for prefix in prefixes for key in broker_secrets._ALIASED}
    return (members | read | keys) - TOLD


def test_the_example_names_every_setting_and_no_other() -> None:
    named = _EXAMPLE_LINE.findall(EXAMPLE.read_text(encoding="utf-8"))
    assert len(named) == len(set(named))
    assert set(named) == settings_that_exist() | FOR_COMPOSE


def test_what_the_example_shows_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in settings_that_exist():
        monkeypatch.delenv(name, raising=False)
    shim = ShimSettings(_env_file=EXAMPLE)
    defaults = ShimSettings(_env_file=None)
    assert shim.model_dump(exclude={"shadow_database_url"}) == defaults.model_dump(
        exclude={"shadow_database_url"}
    )
    chosen = {"database_url", "debug"}  # an example of the one, the safe choice for the other
    shown = Settings(_env_file=EXAMPLE).model_dump(exclude=chosen)
    plain = Settings(_env_file=None).model_dump(exclude=chosen)
    assert {name: value or None for name, value in shown.items()} == {
        name: value or None for name, value in plain.items()
    }


def test_compose_uses_only_settings_that_exist() -> None:
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    used = set(re.findall(r"\$\{([A-Z_]+)", text)) | set(re.findall(r"\b(ST_[A-Z_]+):", text))
    assert used
    assert used <= settings_that_exist() | FOR_COMPOSE
    assert used <= set(dotenv_values(EXAMPLE))


def commands() -> list[list[str]]:
    found = [
        shlex.split(service["command"])
        for service in COMPOSE["services"].values()
        if isinstance(service.get("command"), str) and not service["command"].startswith("--")
    ]
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    return [*found, yaml.safe_load(dockerfile.rpartition("CMD ")[2])]


@pytest.mark.parametrize("command", commands(), ids=lambda words: " ".join(words[:2]))
def test_its_commands_exist(command: list[str]) -> None:
    program, first, *rest = command
    if program == "uvicorn":
        module, _, name = first.partition(":")
        assert hasattr(importlib.import_module(module), name)
        assert (
            (ROOT / rest[rest.index("--app-dir") + 1] / module.replace(".", "/")).with_suffix(".py").is_file()
        )
    elif program == "python3":
        keeper = ROOT / "deploy" / "backup" / Path(first).name
        named = set(re.findall(r'add_argument\("(--\w+)"', keeper.read_text(encoding="utf-8")))
        assert {word for word in rest if word.startswith("--")} <= named
    elif program == "python":
        assert (first, rest[0]) == ("-m", "app.run")
        assert Role(rest[1])
        run._parser().parse_args(rest[1:])
    elif program == "st-migrate":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        assert program in project["project"]["scripts"]
        assert first in get_command(cli).commands
    else:
        assert program == "postgres"
        assert first == "-c"


def test_every_file_that_compose_mounts_is_there() -> None:
    mounts = [volume for service in COMPOSE["services"].values() for volume in service.get("volumes", [])]
    files = [volume.split(":")[0] for volume in mounts if volume.startswith("./")]
    for file in files:
        place = ROOT / file
        assert place.exists() or place.with_name(place.name + ".example").exists(), file
    assert len(files) >= 4


@pytest.mark.needs_program("dclint")
def test_compose_follows_the_schema_of_compose_files(tmp_path: Path) -> None:
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    for name, written in (
        ("ours", text),
        ("wrong", text.replace("condition: service_healthy", "condition: well")),
    ):
        file = tmp_path / name / "compose.yaml"
        file.parent.mkdir()
        file.write_text(written, encoding="utf-8")
        said = subprocess.run([str(find("dclint")), "-q", str(file)], capture_output=True, text=True).stdout
        assert ("invalid-schema" in said) == (name == "wrong"), said


def test_what_a_service_names_is_declared() -> None:
    for service in COMPOSE["services"].values():
        assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"])
        mounted = {volume.split(":")[0] for volume in service.get("volumes", ())}
        assert {name for name in mounted if not name.startswith(".")} <= set(COMPOSE["volumes"])
        assert set(service.get("depends_on", ())) <= set(COMPOSE["services"])


def test_nothing_is_open_to_the_network_by_default() -> None:
    for service in COMPOSE["services"].values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_service_is_closed_limited_and_watched(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
    assert (
        service["mem_limit"]
        and service["pids_limit"]
        and service["restart"] in ("unless-stopped", "on-failure")
    )
    assert service["logging"] == {"driver": "local"}  # it keeps 100 MB, where the default keeps everything
    assert service["healthcheck"]["test"]
    ours = str(service.get("image", "")).startswith("sigmatrader-")
    assert service.get("user") == (
        "postgres" if ours else None
    )  # the other images name their user themselves


def test_a_secret_is_a_file_and_every_one_is_made() -> None:
    text = (ROOT / "deploy" / "make_env.py").read_text(encoding="utf-8")
    for name, secret in COMPOSE["secrets"].items():
        assert f'"{name.upper()}"' in text
        # From the environment it would be copied into the container, which a read-only one refuses.
        assert secret == {"file": f"./.secrets/{name}"}
        users = [service for service in COMPOSE["services"].values() if name in service.get("secrets", ())]
        assert users
        assert not [s for s in users if (s.get("environment") or {}).get(name.upper())]
        backends = [service for service in COMPOSE["services"].values() if "env_file" in service]
        assert [s["environment"][name.upper()] for s in backends] == [""] * 4  # .env has them all


def test_backends_and_workers_share_the_file_and_differ_in_the_command_only() -> None:
    backend = COMPOSE["services"]["backend"]
    for other in ("worker", "jobs", "scheduler"):
        assert backend["environment"] == COMPOSE["services"][other]["environment"]
        assert backend["volumes"] == COMPOSE["services"][other]["volumes"]
    assert "--workers 2" in backend["command"]
    assert backend["environment"]["PROMETHEUS_MULTIPROC_DIR"] in backend["tmpfs"][0]


def test_the_image_takes_no_secrets_and_no_database_along() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {"*", "**/.env", "**/*.db"} <= set(ignored)
    taken = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = re.findall(r"^COPY (.*) \S+$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert taken == {name for names in copied for name in names.split()}


UNITS = sorted((ROOT / "deploy" / "systemd").glob("sigmatrader-*.service"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_a_unit_of_systemd_runs_a_role_and_comes_back_when_it_dies(unit: Path) -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(unit.read_text(encoding="utf-8"))
    service = parser["Service"]
    program, *words = shlex.split(service["ExecStart"])
    assert Path(program).name == "python"
    assert words[:2] == ["-m", "app.run"]
    assert unit.stem == f"sigmatrader-{run._parser().parse_args(words[2:]).role}"
    assert (service["Restart"], service["User"]) == ("on-failure", "sigma")
    assert str(run.REFUSED) in service["RestartPreventExitStatus"]


def test_the_unit_of_the_move_runs_the_worker_and_is_as_closed_as_that_of_a_role() -> None:
    move, role = configparser.ConfigParser(interpolation=None), configparser.ConfigParser(interpolation=None)
    move.read(ROOT / "deploy" / "systemd" / "st-migrate-worker.service")
    role.read(ROOT / "deploy" / "systemd" / "sigmatrader-worker.service")
    program, *words = shlex.split(move["Service"]["ExecStart"])
    assert (Path(program).name, words[0]) == ("st-migrate", "worker")
    own = {"execstart", "restartsec"}
    assert {k: v for k, v in move["Service"].items() if k not in own} == {
        # Another start may find mended what ended the worker, so none is prevented.
        k: v for k, v in role["Service"].items() if k not in own | {"restartpreventexitstatus"}
    }  # fmt: skip


def test_there_is_a_unit_for_every_role_of_a_divided_backend() -> None:
    assert {unit.stem.removeprefix("sigmatrader-") for unit in UNITS} == set(Role) - {Role.ALL}
