"""A server with the roles of docs/security.md, a SQLite file with the application's schema, and the command line."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from app.db import SessionLocal
from app.db.common.settings import ShimSettings
from app.db.common.urls import Side
from app.db.revisions.chain import upgrade_head
from app.db.session import runtime as runtimes
from app.db.session.runtime import Runtime, make_runtime
from app.models import Alert
from loadtests.stage.embedded import EmbeddedPostgres
from migration.verbs.cli import main
from tests.operator.deploy.servers import execute, set_password, sql_blocks
from tests.support.fixtures import clone, copying, replicating, templates, zygote  # noqa: F401 - fixtures

ROLES = ("sigma_owner", "sigma_app", "sigma_verify")
ALERTS = 40


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedPostgres]:
    """A server of its own: roles belong to the whole cluster."""
    with EmbeddedPostgres(light=True) as server:
        yield server


def make_roles(server: EmbeddedPostgres) -> None:
    """The database `sigma` and the roles, made by the SQL of docs/security.md and nothing else."""
    everywhere, within, _ = sql_blocks("security.md")
    execute(server.url(), everywhere)
    for role in ROLES:
        set_password(server, role)
    execute(server.url("sigma"), within)


@pytest.fixture
def roles(cluster: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    """A server with the roles and their database, both new."""
    make_roles(cluster)
    yield cluster
    cluster.drop_database("sigma")
    execute(cluster.url(), [f"DROP ROLE {role}" for role in ROLES])


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "sigma.db"
    upgrade_head(f"sqlite:///{path}")
    connection = sqlite3.connect(path)
    with connection:
        connection.executemany(
            "INSERT INTO alerts (id, symbol, action, qty, raw_payload) VALUES (?, 'TCS', 'BUY', ?, '{}')",
            [(n, float(n)) for n in range(1, ALERTS + 1)],
        )
    connection.close()
    return path


@pytest.fixture
def sqlite_path(sqlite_template: Path, tmp_path: Path) -> Path:
    """A file of the backend at its present schema, with a few rows."""
    return Path(shutil.copy(sqlite_template, tmp_path / "sigma.db"))


@dataclass(frozen=True)
class Answer:
    """What a command line gave."""

    code: int
    data: dict[str, Any]

    @property
    def outcome(self) -> tuple[int, str]:
        return self.code, str(self.data["outcome"])


Migrate = Callable[..., Answer]


def migrate_on(sqlite_path: Path) -> Migrate:
    """Runs a verb on the file and a PostgreSQL URL."""

    def run(url: str, *arguments: str) -> Answer:
        with redirect_stdout(io.StringIO()) as out:
            code = main([*arguments, "--json", "--sqlite", str(sqlite_path), "--postgres", url])
        return Answer(code, json.loads(out.getvalue()))

    return run


@pytest.fixture
def migrate(sqlite_path: Path) -> Migrate:
    return migrate_on(sqlite_path)


Backend = Callable[..., Runtime]


@pytest.fixture
def backend(sqlite_path: Path) -> Iterator[Backend]:
    """Makes what a backend process holds; SessionLocal uses the last one made."""
    made: list[Runtime] = []
    former = runtimes.use(None)

    def make(url: str, *, wanted: Side = Side.SQLITE, **settings: Any) -> Runtime:
        urls = {Side.SQLITE: f"sqlite:///{sqlite_path}", Side.POSTGRES: url}
        options = {"dual_write_timeout_ms": 5_000, **settings}
        made.append(
            make_runtime(urls[wanted], ShimSettings(shadow_database_url=urls[wanted.other], **options))
        )
        runtimes.use(made[-1])
        made[-1].start()
        return made[-1]

    yield make
    for current in made:
        current.stop()
    runtimes.use(former)


def write_alert(symbol: str) -> int:
    """One alert through a session of the application; returns its id."""
    with SessionLocal() as session:
        alert = Alert(symbol=symbol, action="BUY", qty=1.0, raw_payload="{}")
        session.add(alert)
        session.commit()
        return int(alert.id)


def count_alerts(symbol: str) -> int:
    """Alerts of a symbol as a session of the application sees them."""
    with SessionLocal() as session:
        found = session.execute(select(func.count()).select_from(Alert).where(Alert.symbol == symbol))
        return int(found.scalar_one())


@pytest.fixture(autouse=True)
def _own_stdout(own_stdout: None) -> None:
    """The command's answer is all that stands on stdout."""
