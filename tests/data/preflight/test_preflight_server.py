"""What preflight says of servers and roles."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import URL

from app.db.common.errors import ConfigurationError, ShadowUnavailable
from app.db.common.urls import connect_arguments, parse_url
from app.db.rows.policy import Policy
from loadtests.stage.embedded import free_port
from migration.preflight.findings.report import Finding, Severity
from migration.preflight.run import run
from tests.data.preflight.preflight_files import sqlite_file
from tests.support.pairs import wait_until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return sqlite_file(
        tmp_path / "small.db", "CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (1)"
    )


@pytest.fixture
def url(pg_url: str) -> URL:
    return parse_url(pg_url, name="test")


@pytest.fixture
def server(url: URL) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(autocommit=True, **connect_arguments(url)) as connection:
        yield connection


@pytest.fixture
def no_autovacuum(server: psycopg.Connection[tuple[object, ...]]) -> Iterator[None]:
    """Nobody but the test uses transaction ids: those of the server's own analyzing count, too."""
    under_way = "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'autovacuum %'"
    server.execute("ALTER SYSTEM SET autovacuum = off")
    server.execute("SELECT pg_reload_conf()")
    wait_until(lambda: server.execute(under_way).fetchone() == (0,))
    yield
    server.execute("ALTER SYSTEM RESET autovacuum")
    server.execute("SELECT pg_reload_conf()")


def found(path: Path, url: URL) -> dict[str, Finding]:
    return {item.code: item for item in run(path, url, Policy()).findings}


def test_a_fresh_database_of_a_good_server_blocks_nothing(path: Path, url: URL) -> None:
    of_server = {code: item for code, item in found(path, url).items() if code.startswith("postgres.")}
    assert of_server.pop("postgres.fsync").severity is Severity.WARNS  # the tests' server waits for no disk
    assert {item.severity for item in of_server.values()} == {Severity.INFO}


def test_rows_that_are_already_there(
    path: Path, url: URL, server: psycopg.Connection[tuple[object, ...]]
) -> None:
    server.execute("CREATE TABLE t (id bigint PRIMARY KEY)")
    server.execute("INSERT INTO t VALUES (1)")
    finding = found(path, url)["postgres.not_empty"]
    assert (finding.severity, finding.table) == (Severity.BLOCKS, "t")


def test_what_only_one_side_has(path: Path, url: URL, server: psycopg.Connection[tuple[object, ...]]) -> None:
    server.execute("CREATE TABLE other (id bigint PRIMARY KEY)")
    sqlite_file(path, "CREATE TABLE pair_of (id INTEGER PRIMARY KEY, ours TEXT)")
    server.execute("CREATE TABLE pair_of (id bigint PRIMARY KEY, theirs text)")
    report = run(path, url, Policy())
    assert {(item.place, item.reason) for item in report.findings if item.code == "schema.drift"} == {
        ("t", "the table is only on SQLite"),
        ("other", "the table is only on PostgreSQL"),
        ("pair_of.ours", "the column is only on SQLite"),
        ("pair_of.theirs", "the column is only on PostgreSQL"),
    }


def test_preflight_writes_nothing_even_where_it_may(
    path: Path, url: URL, server: psycopg.Connection[tuple[object, ...]], no_autovacuum: None
) -> None:
    (xid,) = server.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text").fetchone() or ("",)
    run(path, url, Policy())
    (after,) = server.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text").fetchone() or ("",)
    assert after == xid  # no transaction id was used, so nothing was written


@pytest.mark.parametrize(
    ("setting", "code", "severity"),
    [
        ("default_transaction_read_only = on", "postgres.read_only", Severity.BLOCKS),
        ("synchronous_commit = off", "postgres.synchronous_commit", Severity.WARNS),
        ("search_path = nowhere", "postgres.schema", Severity.BLOCKS),
        ("session_replication_role = replica", "postgres.triggers_off", Severity.BLOCKS),
    ],
)
def test_settings_of_the_database(
    path: Path,
    url: URL,
    server: psycopg.Connection[tuple[object, ...]],
    setting: str,
    code: str,
    severity: Severity,
) -> None:
    server.execute(f'ALTER DATABASE "{url.database}" SET {setting}'.encode())
    assert found(path, url)[code].severity is severity


def test_a_stored_limit_of_statements_matters_behind_a_pooler(
    path: Path, url: URL, server: psycopg.Connection[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions of our own set it aside; a pooler's sessions have it."""
    server.execute(f"ALTER DATABASE \"{url.database}\" SET statement_timeout = '5s'".encode())
    assert "postgres.statement_timeout" not in found(path, url)
    monkeypatch.setenv("ST_PG_POOLER", "transaction")
    assert found(path, url)["postgres.statement_timeout"].severity is Severity.WARNS


def test_a_role_that_may_not_create_tables(
    path: Path, url: URL, server: psycopg.Connection[tuple[object, ...]]
) -> None:
    role = f"reader_{url.database}"
    server.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x' NOSUPERUSER".encode())
    try:
        finding = found(path, url.set(username=role, password="x"))["postgres.privilege"]
        assert finding.severity is Severity.BLOCKS
        assert finding.remedy == f"GRANT CREATE ON SCHEMA public TO {role}"
        server.execute(f"GRANT CREATE ON SCHEMA public TO {role}".encode())
        after = found(path, url.set(username=role, password="x"))
        assert "postgres.privilege" not in after
        assert "superuser False" in after["postgres.server"].reason
    finally:
        server.execute(f"DROP OWNED BY {role}".encode())
        server.execute(f"DROP ROLE {role}".encode())


def test_a_database_of_another_encoding(
    path: Path, url: URL, server: psycopg.Connection[tuple[object, ...]]
) -> None:
    name = f"{url.database}_latin"
    server.execute(
        f"CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0".encode()
    )
    try:
        finding = found(path, url.set(database=name))["postgres.encoding"]
        assert (finding.severity, finding.reason) == (Severity.BLOCKS, "the database is encoded in LATIN1")
    finally:
        server.execute(f"DROP DATABASE {name}".encode())


def test_a_server_that_is_not_there(path: Path, url: URL) -> None:
    with pytest.raises(ShadowUnavailable):
        run(path, url.set(port=free_port()), Policy())


def test_a_password_that_is_wrong_is_not_shown(path: Path, url: URL) -> None:
    with pytest.raises(ConfigurationError) as error:
        run(path, url.set(database="nowhere"), Policy())
    assert str(url.password) not in str(error.value)


def test_the_report_is_json(path: Path, url: URL) -> None:
    report = run(path, url, Policy()).as_dict()
    assert json.loads(json.dumps(report)) == report | {"findings": json.loads(json.dumps(report["findings"]))}
    assert sum(report["counts"].values()) == len(report["findings"])
