"""Columns whose type on PostgreSQL takes less than SQLite's: what has a place there comes back as it was, the rest is never changed unasked."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from app.db.common.urls import connect_arguments, parse_url
from app.db.rows.canonical.reals import shortest, spelling_of
from app.db.rows.catalog.declared import keeps_number
from app.db.rows.policy import VARIABLE, active_policy
from tests.operator.anyapp.conftest import Stranger

EXISTING = ("--schema", "existing")
Make = Callable[..., Stranger]
ADDED = "ALTER TABLE person ADD COLUMN mark FLOAT; ALTER TABLE person ADD COLUMN wide REAL;"


@pytest.fixture
def app(stranger: Make) -> Stranger:
    return stranger(
        ADDED + "UPDATE person SET mark = 0.1, wide = 0.10000000149011612 WHERE id = 1;",
        ";" + ADDED.replace("FLOAT", "real"),
    )


def test_the_fewest_digits_are_those_that_postgresql_prints(pg_url: str) -> None:
    rng = random.Random(4)
    bits = [rng.getrandbits(32) for _ in range(3_000)] + [n << 23 for n in range(255)] + [1, 2**23 - 1, 2**31]
    numbers = [struct.unpack("f", struct.pack("I", n))[0] for n in bits if n >> 23 & 255 < 255]
    with psycopg.connect(**connect_arguments(parse_url(pg_url, name="url"))) as postgres:
        printed = postgres.execute(
            "SELECT x::real::text FROM unnest(%s::float8[]) WITH ORDINALITY AS u (x, n) ORDER BY n",
            (numbers,),
        ).fetchall()
    assert [float(text) for (text,) in printed] == list(map(shortest, numbers))
    assert all(spelling_of(number) in ("wide", "both") for number in numbers)


def test_a_number_is_kept_where_postgresql_s_cast_keeps_it(pg_url: str) -> None:
    rng = random.Random(3)
    numbers = [
        "0",
        "-0.005",
        *(f"{rng.randrange(10**4)}{rng.choice(('', '00', '.5', '.001'))}" for _ in range(30)),
    ]
    with psycopg.connect(**connect_arguments(parse_url(pg_url, name="url"))) as postgres:
        for precision, scale in ((5, 2), (3, 5), (5, -2), (1, 0), (2, -3), (4, 4)):
            most = 10 ** (precision - scale)
            kept = postgres.execute(
                f"SELECT x::text FROM unnest(%s::numeric[]) x WHERE round(x, {scale}) = x AND abs(x) < {most}",
                (numbers,),
            ).fetchall()
            assert [x for x in numbers if keeps_number(x, precision, scale)] == [text for (text,) in kept]


def test_both_spellings_come_back_from_postgresql(app: Stranger) -> None:
    app.done("run", *EXISTING)
    app.lite("UPDATE person SET mark = 33575968.0, wide = 0.5 WHERE id = 2")
    app.done("worker", "--until-drained")
    app.done("verify")
    app.done("cutover")
    assert app.pg("SELECT mark, wide::double precision FROM person ORDER BY id") == [
        (0.1, 0.10000000149011612),
        (33575968.0, 0.5),
    ]
    app.pg(
        "UPDATE person SET visits = 9; INSERT INTO person (id, role_id, mark, wide) VALUES (3, 1, 0.7, 0.7)"
    )
    app.done("worker", "--until-drained")
    app.done("verify")
    app.done("rollback")
    assert app.lite("SELECT mark, wide FROM person ORDER BY id") == [
        (0.1, 0.10000000149011612),
        (33575968.0, 0.5),
        (0.7, 0.699999988079071),
    ]


def test_more_digits_are_named_and_rounded_only_by_a_policy(
    app: Stranger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.lite("UPDATE person SET mark = 0.123456789, wide = 1e40 WHERE id = 2")
    answer = app.run("preflight", *EXISTING)
    assert answer.blocking().keys() == {
        ("value.real_digits", "person.mark"),
        ("value.real_digits", "person.wide"),
    }
    remedies = {
        item["column"]: item["remedy"] for item in answer.data["findings"] if item["severity"] == "blocks"
    }
    assert "'round_real'" in remedies["mark"] and "policy" not in remedies["wide"]
    app.pg(remedies["wide"].partition(" (on")[0])
    (tmp_path / "policy.toml").write_text('[tables.person]\nmark = "round_real"\n', encoding="utf-8")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "policy.toml"))
    active_policy.cache_clear()
    try:
        app.done("run", *EXISTING)
        app.lite("UPDATE person SET mark = 9.87654321 WHERE id = 1")
        app.done("worker", "--until-drained")
        app.done("verify")
        assert app.pg("SELECT mark, wide FROM person ORDER BY id") == [
            (9.876543, 0.10000000149011612),
            (0.12345679, 1e40),
        ]
    finally:
        active_policy.cache_clear()


def test_values_that_only_the_type_refuses_are_named_and_set_aside_also_as_keys(stranger: Make) -> None:
    """A label that the enum lacks, blanks that a `char` cuts, and a host where `cidr` takes networks."""
    names = ("labels", "padded", "networks")
    good, bad = ("LOW", "ab", "10.0.0.0/8"), ("ODD", "ab ", "10.0.0.1/8")
    app = stranger(
        "; ".join(
            f"CREATE TABLE {name} (k TEXT NOT NULL PRIMARY KEY, v TEXT); INSERT INTO {name} VALUES ('{one}', '{one}'), ('{other}', '{one}')"
            for name, one, other in zip(names, good, bad, strict=True)
        ),
        "CREATE TYPE level AS ENUM ('LOW'); "
        + "; ".join(
            f"CREATE TABLE {name} (k {kind} PRIMARY KEY, v {kind})"
            for name, kind in zip(names, ("level", 'char(5) COLLATE "C"', "cidr"), strict=True)
        ),
    )
    found = app.run("preflight", *EXISTING).blocking()
    assert found.keys() == {("value.outside_type", f"{name}.k") for name in names}
    answer = app.run("run", *EXISTING)
    assert (answer.code, answer.outcome) == (1, "set_aside")
    assert "3 rows of sqlite are in quarantine and not accepted" in answer.text
    assert "equal (run st-migrate quarantine list, and st-migrate preflight for the remedies" in answer.text
    app.lite("UPDATE labels SET k = 'ODDER' WHERE k = 'ODD'")
    app.lite("DELETE FROM padded WHERE k = 'ab '")
    app.lite("UPDATE networks SET v = k WHERE k = '10.0.0.1/8'")
    app.done("worker", "--until-drained")
    held = app.pg("SELECT tbl, col FROM st_quarantine ORDER BY tbl, col")
    assert held == [("labels", "k"), ("networks", "k")]
    assert [app.pg(f"SELECT k::text FROM {name}") for name in names] == [[(key,)] for key in good]


def test_a_column_that_only_one_side_has_and_needs_is_left_out_by_its_remedy(stranger: Make) -> None:
    """As a text search vector that is NOT NULL, and a length of time in a form that PostgreSQL does not know."""
    app = stranger(
        "ALTER TABLE person ADD COLUMN worked TEXT; UPDATE person SET worked = '1.02:03:04.5000000';",
        "; ALTER TABLE person ADD COLUMN search tsvector NOT NULL, ADD COLUMN worked interval NOT NULL",
    )
    found = app.run("preflight", *EXISTING).data["findings"]
    columns = ("search", "worked")
    told = {item["column"]: item["remedy"] for item in found if item["severity"] == "blocks"}
    assert told.keys() == set(columns)
    first = {name: f'ALTER TABLE "person" ALTER COLUMN "{name}" DROP NOT NULL' for name in columns}
    for name in columns:
        assert told[name].endswith(
            f"--leave-out person.{name}; to leave it out, first {first[name]} (on PostgreSQL)"
        )
    out = [word for name in columns for word in ("--leave-out", f"person.{name}")]
    stuck = app.run("preflight", *EXISTING, *out).data["findings"]
    assert [item["on_postgres"] for item in stuck if item["severity"] == "blocks"] == list(first.values())
    app.pg(";".join(first.values()))
    assert app.done("preflight", *EXISTING, *out).outcome == "clean"
