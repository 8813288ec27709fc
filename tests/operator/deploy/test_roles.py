"""The roles of docs/security.md, made by its own SQL: enough for the whole move, and not more."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import errors as pg_errors

from app.db.apply.round import Applier
from app.db.common.settings import load_settings
from app.db.common.urls import Side, make_pair, parse_url
from app.db.session.at_start import switch_at_start
from app.db.sides.stores import Stores
from loadtests.stage.embedded import EmbeddedPostgres
from migration.verify import recheck
from tests.operator.deploy.conftest import (
    ALERTS,
    Backend,
    Migrate,
    count_alerts,
    make_roles,
    migrate_on,
    write_alert,
)
from tests.operator.deploy.servers import execute, sql_blocks
from tests.support.pairs import connect


def prepared(server: EmbeddedPostgres, migrate: Migrate) -> tuple[str, str, str]:
    """Everything up to a copied pair; the URLs of owner, application and verifier."""
    owner, app, verifier = (
        server.url("sigma", user=role) for role in ("sigma_owner", "sigma_app", "sigma_verify")
    )
    assert migrate(owner, "preflight").outcome == (0, "clean")
    assert migrate(owner, "prepare").outcome == (0, "prepared")
    execute(owner, sql_blocks("security.md")[2])
    assert migrate(owner, "backfill").outcome == (0, "copied")
    return owner, app, verifier


def test_a_whole_move_without_a_superuser(
    roles: EmbeddedPostgres, migrate: Migrate, backend: Backend
) -> None:
    owner, app, verifier = prepared(roles, migrate)
    backend(app, dual_write="off")
    write_alert("BEFORE")
    assert migrate(owner, "worker", "--until-drained").outcome == (0, "drained")
    assert migrate(verifier, "verify").outcome == (0, "clean")
    assert migrate(verifier, "status").data["next"] == "st-migrate cutover"
    assert migrate(owner, "cutover").outcome == (0, "moved")

    after = write_alert("AFTER")
    assert after > ALERTS
    assert count_alerts("BEFORE") == 1
    assert migrate(owner, "worker", "--until-drained").outcome == (0, "drained")
    assert migrate(verifier, "verify").outcome == (0, "clean")
    assert migrate(owner, "rollback").outcome == (0, "moved")
    assert count_alerts("AFTER") == 1
    write_alert("BACK")
    assert migrate(owner, "cutover").outcome == (0, "moved")
    assert migrate(owner, "complete", "--yes").outcome == (0, "completed")

    backend(app, wanted=Side.POSTGRES)  # what is left of the pair says nothing any more
    with connect(app) as connection:
        found = connection.execute("SELECT symbol FROM alerts WHERE symbol <> 'TCS' ORDER BY 1").fetchall()
    assert found == [("AFTER",), ("BACK",), ("BEFORE",)]


FORBIDDEN = {
    "read the fence": "SELECT * FROM st_control",
    "lower the fence": "UPDATE st_control SET writable = true",
    "forge the log": "INSERT INTO st_change_log (tbl, k) VALUES ('alerts', '1')",
    "empty the log": "DELETE FROM st_change_log",
    "move the watermark": "UPDATE st_watermark SET position = '0'",
    "open a round": "SELECT * FROM st_open_round(false)",
    "switch a trigger off": "ALTER TABLE alerts DISABLE TRIGGER st_fence",
    "truncate": "TRUNCATE alerts",
    "make a table": "CREATE TABLE mine (id int)",
    "replace the admission": "CREATE OR REPLACE FUNCTION st_may_write() RETURNS boolean LANGUAGE sql AS 'SELECT true'",
}


@dataclass(frozen=True)
class MovedPair:
    """A pair whose primary is PostgreSQL, by the URLs of owner, application and verifier."""

    owner: str
    app: str
    verifier: str
    migrate: Migrate


@pytest.fixture(scope="module")
def moved(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MovedPair]:
    """One pair for the tests that only look at it; its server is its own, as roles belong to a server."""
    migrate = migrate_on(Path(shutil.copy(sqlite_template, tmp_path_factory.mktemp("moved") / "sigma.db")))
    with EmbeddedPostgres(light=True) as server:
        make_roles(server)
        urls = prepared(server, migrate)
        assert migrate(urls[0], "verify").outcome == (0, "clean")
        assert migrate(urls[0], "cutover").outcome == (0, "moved")
        yield MovedPair(*urls, migrate)


def test_the_application_writes_rows_and_nothing_else(moved: MovedPair) -> None:
    owner, app = moved.owner, moved.app
    with connect(app) as connection:
        connection.execute("UPDATE alerts SET qty = 9 WHERE id = 7")
        connection.execute("DELETE FROM alerts WHERE id = 8")
        for what, statement in FORBIDDEN.items():
            with pytest.raises(pg_errors.InsufficientPrivilege):
                connection.execute(statement.encode())
                pytest.fail(f"sigma_app may {what}")
    with connect(owner) as connection:
        logged = connection.execute("SELECT tbl, k FROM st_change_log ORDER BY seq").fetchall()
    assert logged == [("alerts", "7"), ("alerts", "8")]


def test_quarantine_is_for_owner_and_verifier_only(moved: MovedPair) -> None:
    read = b"SELECT * FROM st_quarantine"
    for allowed in (moved.owner, moved.verifier):
        with connect(allowed) as connection:
            connection.execute(read)
    with connect(moved.app) as connection, pytest.raises(pg_errors.InsufficientPrivilege):
        connection.execute(read)


def test_functions_with_the_owners_rights_have_a_fixed_path_and_take_no_text(moved: MovedPair) -> None:
    with connect(moved.owner) as connection:
        found = connection.execute(
            "SELECT proname, pg_get_userbyid(proowner), proconfig, oidvectortypes(proargtypes)"
            " FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace"
        ).fetchall()
    assert {"st_fence", "st_may_write"} <= {name for name, *_ in found}
    for name, owner, config, arguments in found:
        assert (owner, "text" in arguments or "char" in arguments) == ("sigma_owner", False), name
        assert config and config[0].startswith("search_path="), name


def test_the_application_meets_the_fence_and_not_a_missing_privilege(
    roles: EmbeddedPostgres, migrate: Migrate
) -> None:
    _, app, _ = prepared(roles, migrate)
    with connect(app) as connection:
        with pytest.raises(psycopg.Error) as refused:
            connection.execute("UPDATE alerts SET qty = 9 WHERE id = 7")
        assert refused.value.sqlstate == "55ST1"
        row = connection.execute("SELECT st_may_write()").fetchone()
    assert row == (False,)


def test_a_start_with_too_few_rights_to_switch_follows_instead(
    roles: EmbeddedPostgres, migrate: Migrate, backend: Backend
) -> None:
    _, app, _ = prepared(roles, migrate)
    current = backend(app, wanted=Side.POSTGRES, dual_write="off", cutover="auto")
    assert not switch_at_start(current)
    assert current.primary() is Side.SQLITE
    assert write_alert("STILL ON SQLITE") > ALERTS


def test_the_verifier_changes_no_row(moved: MovedPair) -> None:
    assert moved.migrate(moved.owner, "worker", "--until-drained").outcome == (0, "drained")
    assert moved.migrate(moved.verifier, "verify").outcome == (0, "clean")
    assert moved.migrate(moved.verifier, "history").code == 0
    with connect(moved.verifier) as connection:
        for statement in (
            "UPDATE alerts SET qty = 9 WHERE id = 7",
            "DELETE FROM orders",
            "UPDATE st_control SET writable = false",
            "UPDATE st_watermark SET position = '0'",
            "DELETE FROM st_change_log",
        ):
            with pytest.raises(pg_errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_the_verifier_waits_for_others_to_apply(
    roles: EmbeddedPostgres, migrate: Migrate, sqlite_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, _, verifier = prepared(roles, migrate)
    pair = make_pair(parse_url(f"sqlite:///{sqlite_path}", name="file"), parse_url(owner, name="owner"))
    applier = Applier(Stores.open(pair, load_settings()))
    applier.stores.sqlite.connection.execute("UPDATE alerts SET qty = 99 WHERE id = 5")
    waited: list[bool] = []
    original = recheck.Recheck._apply

    def apply(recheck: recheck.Recheck) -> None:
        original(recheck)
        waited.append(recheck._may_write)
        applier.round()  # the worker's, at the latest possible moment

    monkeypatch.setattr(recheck.Recheck, "_apply", apply)
    try:
        assert migrate(verifier, "verify").outcome == (0, "clean")
    finally:
        applier.stores.close()
    assert waited == [False]
