"""A value is the same whatever server, database and role say about how values are printed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import text

from app.db.common.settings import load_settings
from app.db.common.urls import Side, connect_arguments, parse_url
from app.db.rows.policy import Policy
from app.db.session.engines import make_engine
from app.db.sides.postgres.connection import open_postgres
from app.db.sides.postgres.forms import FORMS
from loadtests.stage.embedded import EmbeddedPostgres
from migration.preflight.run import run
from migration.verify.run import Verify
from tests.data.verify.small_pair import SmallPair, make_small_pair

HOSTILE = {
    "extra_float_digits": "0",
    "DateStyle": "German, DMY",
    "TimeZone": "Asia/Kolkata",
    "IntervalStyle": "sql_standard",
    "bytea_output": "escape",
    "xmlbinary": "hex",
    "array_nulls": "off",
    "standard_conforming_strings": "off",
    "quote_all_identifiers": "on",
    "client_encoding": "LATIN1",
}
FLOATS = (0.1, 1 / 3, 1e300 / 7, 5e-324, 123456789.123456789)


@pytest.fixture(params=["none", "transaction"])
def hostile(
    request: pytest.FixtureRequest,
    postgres_server: EmbeddedPostgres,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[SmallPair]:
    """A pair on a database whose settings print everything otherwise."""
    name = f"v_{uuid.uuid4().hex[:12]}"
    url = postgres_server.create_database(name)
    with psycopg.connect(autocommit=True, **connect_arguments(parse_url(url, name="test"))) as connection:
        for setting, value in HOSTILE.items():
            connection.execute(
                sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                    sql.Identifier(name),
                    sql.Identifier(setting),
                    sql.Literal(value) if setting != "DateStyle" else sql.SQL("German, DMY"),
                )
            )
    monkeypatch.setenv("ST_PG_POOLER", request.param)
    monkeypatch.setenv("PGDATESTYLE", "SQL, DMY")
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    pair = make_small_pair(tmp_path, url)
    yield pair
    pair.applier.stores.close()
    postgres_server.drop_database(name)


def test_what_postgres_holds_arrives_on_sqlite_to_the_last_bit(hostile: SmallPair) -> None:
    assert Verify(hostile.applier).run().clean
    hostile.move(Side.POSTGRES)
    for n, value in enumerate(FLOATS):
        hostile.write(
            "UPDATE bars SET price = %s, ts = '2026-02-03 04:05:06.789' WHERE id = %s", value, n + 1
        )
    hostile.write("UPDATE kinds SET t = 'NULL', d = '2026-03-02', bl = %s WHERE id = 4", b"\\ \x00\xff")
    hostile.settle()
    rows = hostile.applier.stores.sqlite.connection.execute(
        "SELECT price, ts FROM bars WHERE id <= ? ORDER BY id", (len(FLOATS),)
    ).fetchall()
    assert rows == [(value, "2026-02-03 04:05:06.789000") for value in FLOATS]
    kind = hostile.applier.stores.sqlite.connection.execute(
        "SELECT t, d, bl FROM kinds WHERE id = 4"
    ).fetchall()
    assert kind == [("NULL", "2026-03-02", b"\\ \x00\xff")]
    assert Verify(hostile.applier, chunk_rows=7).run().clean


def test_verify_sees_the_last_bit(hostile: SmallPair) -> None:
    hostile.corrupt("UPDATE bars SET price = %s WHERE id = 7", 1.0000000000000002)
    found = Verify(hostile.applier).run().mismatches
    assert [(item.table, item.key, item.columns) for item in found] == [("bars", ("7",), ("price",))]


def test_null_and_the_word_null_stay_apart_on_their_way_to_postgres(hostile: SmallPair) -> None:
    hostile.write("UPDATE kinds SET t = %s WHERE id = 1", None)
    hostile.write("UPDATE kinds SET t = %s WHERE id = 2", "NULL")
    hostile.settle()
    with hostile.applier.stores.postgres.write() as connection:
        rows = connection.execute("SELECT t FROM kinds WHERE id IN (1, 2) ORDER BY id").fetchall()
    assert rows == [(None,), ("NULL",)]


def test_the_applications_engine_reads_in_the_same_forms(hostile: SmallPair) -> None:
    settings = load_settings()
    engine = make_engine(parse_url(hostile.url, name="test"), settings)
    try:
        for _ in range(2):
            with engine.connect() as connection:
                for setting, value in FORMS.items():
                    held = connection.execute(
                        text("SELECT current_setting(:name)"), {"name": setting}
                    ).scalar_one()
                    assert held.split(",")[0] == value, setting
                connection.rollback()
    finally:
        engine.dispose()


def test_preflight_names_stored_settings(hostile: SmallPair) -> None:
    reasons = [
        item.reason
        for item in run(hostile.path, parse_url(hostile.url, name="test"), Policy()).findings
        if item.code == "postgres.forms"
    ]
    assert any("extra_float_digits is 0 for database" in reason for reason in reasons)
    assert any("datestyle is german" in reason.lower() for reason in reasons), reasons


def test_no_stored_limit_ends_what_takes_long(postgres_server: EmbeddedPostgres, pg_url: str) -> None:
    """They suit requests; a copy, a round or a verify takes longer."""
    url = parse_url(pg_url, name="test")
    limits = ["statement_timeout", "idle_session_timeout", "transaction_timeout"]
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as server:
        for name in limits:
            server.execute(f"ALTER DATABASE \"{url.database}\" SET {name} = '1s'".encode())
    with open_postgres(url, load_settings(), application_name="test") as connection:
        assert [connection.execute(f"SHOW {name}".encode()).fetchone() for name in limits] == [("0",)] * 3
