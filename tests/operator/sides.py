"""Pairs at each stage of the move, made once by the command line itself and cloned per test.

Every call of `cli` checks what holds for all verbs: one JSON object on stdout, its exit code in it, no
traceback, and the hostile password nowhere.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import psycopg
import pytest

from app.db.common.urls import connect_arguments, parse_url
from app.db.revisions.chain import upgrade_head
from loadtests.stage.embedded import PASSWORD, EmbeddedPostgres
from migration.verbs.cli import main

ALERTS = 120
SECRETS = (PASSWORD, quote(PASSWORD, safe=""), quote_plus(PASSWORD), PASSWORD[:8], repr(PASSWORD)[1:-1])


@dataclass(frozen=True)
class Answer:
    """What one call gave: exit code, the JSON object, and stderr."""

    code: int
    data: dict[str, Any]
    err: str

    @property
    def outcome(self) -> str:
        return str(self.data["outcome"])


Cli = Callable[..., Answer]


def assert_no_secret(text: str) -> None:
    """The password appears in none of its forms."""
    assert not [secret for secret in SECRETS if secret in text]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run one command line with --json in this process."""

    def call(*arguments: str) -> Answer:
        capsys.readouterr()
        code = main([*arguments, "--json"])
        out, err = capsys.readouterr()
        assert_no_secret(out + err)
        assert "Traceback" not in out + err
        assert out.count("\n") == 1, out
        data = json.loads(out)
        assert data["exit_code"] == code
        return Answer(code, data, err)

    return call


@dataclass
class Sides:
    """A pair under test."""

    path: Path
    url: str
    cli: Cli

    @property
    def database(self) -> str:
        """The name of the PostgreSQL database."""
        return str(parse_url(self.url, name="url").database)

    def run(self, *arguments: str) -> Answer:
        """A verb on this pair."""
        return self.cli(*arguments, "--sqlite", str(self.path), "--postgres", self.url)

    def sqlite(self, statement: str, *parameters: Any) -> list[Any]:
        """A statement by a program that knows nothing of the move, like the sqlite3 shell."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            return connection.execute(statement, parameters).fetchall()
        finally:
            connection.close()

    def postgres(self, statement: str) -> list[Any]:
        """The same on PostgreSQL."""
        with self.connect() as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def connect(self) -> psycopg.Connection[Any]:
        """A connection of the application's to PostgreSQL, in autocommit mode."""
        return psycopg.connect(autocommit=True, **connect_arguments(parse_url(self.url, name="url")))

    def traces(self) -> tuple[list[str], list[str]]:
        """Everything of ours that stands on either side."""
        on_sqlite = self.sqlite("SELECT name FROM sqlite_master WHERE name GLOB 'st_*' ORDER BY name")
        on_postgres = self.postgres(
            "SELECT relname FROM pg_class WHERE relname LIKE 'st\\_%' AND relkind = 'r' "
            "UNION ALL SELECT proname FROM pg_proc WHERE proname LIKE 'st\\_%' "
            "UNION ALL SELECT tgname FROM pg_trigger WHERE tgname LIKE 'st\\_%'"
        )
        return [row[0] for row in on_sqlite], [row[0] for row in on_postgres]

    def writable(self, side: str) -> bool:
        """Whether an application write is accepted there; it is undone."""
        if side == "sqlite":
            connection = sqlite3.connect(self.path, isolation_level=None)
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("UPDATE alerts SET qty = 7 WHERE id = 1")
                return True
            except sqlite3.OperationalError as error:
                assert "takes no application writes" in str(error)
                return False
            finally:
                connection.execute("ROLLBACK")
                connection.close()
        with self.connect() as connection:
            try:
                connection.execute("BEGIN")
                connection.execute("UPDATE alerts SET qty = 7 WHERE id = 1")
                return True
            except psycopg.Error as error:
                assert error.sqlstate == "55ST1"
                return False
            finally:
                connection.rollback()

    def control(self, **values: Any) -> None:
        """Set columns of SQLite's control row, as a dead or a future process would have left them."""
        names = ", ".join(f"{name} = ?" for name in values)
        self.sqlite(f"UPDATE st_control SET {names} WHERE id = 1", *values.values())


def _fill(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executemany(
        "INSERT INTO alerts (id, symbol, action, qty, raw_payload) VALUES (?, 'TCS', 'BUY', ?, '{}')",
        [(n, float(n)) for n in range(1, ALERTS + 1)],
    )
    connection.executemany(
        "INSERT INTO orders (id, alert_id, symbol, side, qty) VALUES (?, ?, 'TCS', 'BUY', 1)",
        [(n, n if n > 3 else 900 + n) for n in range(1, 41)],  # the first three are orphans
    )
    connection.commit()
    connection.close()


class Stages:
    """Templates of a pair after each stage; a clone costs a copied file and a copied database."""

    ORDER = ("fresh", "prepared", "copied", "verified", "moved", "back")
    STEPS = (("prepare",), ("backfill",), ("verify",), ("cutover",), ("rollback",))

    def __init__(self, server: EmbeddedPostgres, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._made: dict[str, tuple[Path, str]] = {}

    def template(self, stage: str) -> tuple[Path, str]:
        """File and database name of a stage, made from the one before."""
        if stage not in self._made:
            at = self.ORDER.index(stage)
            path, name = self._folder / f"{stage}.db", f"stage_{stage}"
            if at == 0:
                upgrade_head(f"sqlite:///{path}")
                _fill(path)
                self._server.create_database(name)
            else:
                before = self.template(self.ORDER[at - 1])
                url = self.clone(before, path, name)
                assert main([*self.STEPS[at - 1], "--sqlite", str(path), "--postgres", url]) == 0
            self._made[stage] = path, name
        return self._made[stage]

    def clone(self, template: tuple[Path, str], path: Path, name: str) -> str:
        """Copy a stage to a new file and a new database; returns the database's URL."""
        origin, database = template
        with sqlite3.connect(origin) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        shutil.copy(origin, path)
        return self._server.create_database(name, template=database)


@pytest.fixture(scope="session")
def stages(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Stages:
    """The templates of this run."""
    return Stages(postgres_server, tmp_path_factory.mktemp("stages"))


@pytest.fixture
def at_stage(
    stages: Stages, postgres_server: EmbeddedPostgres, tmp_path: Path, cli: Cli
) -> Iterator[Callable[[str], Sides]]:
    """A function that gives a pair of its own at a stage."""
    made: list[str] = []

    def make(stage: str) -> Sides:
        name = f"t_{uuid.uuid4().hex[:12]}"
        url = stages.clone(stages.template(stage), tmp_path / f"{name}.db", name)
        made.append(name)
        return Sides(tmp_path / f"{name}.db", url, cli)

    yield make
    for name in made:
        postgres_server.drop_database(name)
