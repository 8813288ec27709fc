"""What the revisions do with rows on both sides: seeds, and the recorded examples of before and after."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa

import tests.data.schema.schema_rows as schema_rows
from app.db.revisions.chain import upgrade_head
from tests.data.schema.conftest import HEAD, Ladder, Start

EXAMPLES = [
    ("0005", "users table and an admin are already there"),
    ("0007", "admin present (id 1)"),
    ("0007", "no admin row"),
    ("0028", "alerts with and without a rule"),
    ("0033", "orders with, without and with an empty Zerodha id"),
    ("0034", "one of each target kind"),
    ("0035", "lower case, same listing twice, same token twice, inactive row"),
    ("0053", "whole seconds, microseconds, NULL; times that must not move"),
]
# In a form of its own; tested below by hand.
OTHER_EXAMPLES = {"0039"}

MAKE_READY = {
    "users table and an admin are already there": (
        "CREATE TABLE users (id INTEGER PRIMARY KEY, username VARCHAR(64) NOT NULL,"
        " password_hash VARCHAR(256) NOT NULL, role VARCHAR(16) NOT NULL)"
    ),
    "no admin row": "DELETE FROM users",
}


def open_database(url: str) -> sa.Engine:
    return sa.create_engine(url, poolclass=sa.NullPool)


def test_every_recorded_example_is_tested(recorded: list[dict[str, Any]]) -> None:
    cases = [(r["revision"], e["case"]) for r in recorded for e in r.get("examples", [])]
    assert sorted(case for case in cases if case[0] not in OTHER_EXAMPLES) == sorted(EXAMPLES)


@pytest.mark.parametrize(("revision", "case"), EXAMPLES)
def test_example(start: Start, revision: str, case: str, recorded: list[dict[str, Any]]) -> None:
    fact = next(item for item in recorded if item["revision"] == revision)
    example = next(item for item in fact["examples"] if item["case"] == case)
    url = start(fact["down_revision"])
    with open_database(url).begin() as connection:
        if case in MAKE_READY:
            connection.exec_driver_sql(MAKE_READY[case])
        for table, rows in example["before"].items():
            schema_rows.write(connection, table, rows)
    upgrade_head(url, revision)
    with open_database(url).connect() as connection:
        for table, rows in example["after"].items():
            columns = list(dict.fromkeys(name for row in rows for name in row)) or ["id"]
            found = schema_rows.read(connection, table, columns)
            for row, stored in zip(rows, found, strict=True):
                if connection.dialect.name == "postgresql":  # shows no zeros after the second
                    row = {k: v.removesuffix(".000000") if isinstance(v, str) else v for k, v in row.items()}
                assert {name: stored[name] for name in row} == row


def test_seeds_have_the_recorded_values(start: Start, recorded: list[dict[str, Any]]) -> None:
    url = start(HEAD)
    seeds: dict[str, list[dict[str, Any]]] = {}
    for fact in recorded:
        for table, rows in fact.get("inserted", {}).items():
            seeds.setdefault(table, []).extend(rows)
    assert {table: len(rows) for table, rows in seeds.items()} == {
        "users": 1,
        "strategies": 9,
        "signal_strategies": 5,
        "signal_strategy_versions": 5,
    }
    with open_database(url).connect() as connection:
        for table, rows in seeds.items():
            for row in rows:
                expected = {k: schema_rows.stored(v) for k, v in row.items()}
                found = [
                    r for r in schema_rows.read(connection, table, list(expected)) if r["id"] == row["id"]
                ]
                assert found == [expected]
        counts = {
            table: connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
            for table in sa.inspect(connection).get_table_names()
        }
    filled = {table: count for table, count in counts.items() if count}
    assert filled == {table: len(rows) for table, rows in seeds.items()} | {"alembic_version": 1}


def test_admin_password_is_stored_as_recorded(start: Start) -> None:
    with open_database(start("0005")).connect() as connection:
        stored = connection.exec_driver_sql("SELECT password_hash FROM users").scalar_one()
    algorithm, iterations, salt, digest = stored.split("$")
    assert (algorithm, iterations, len(salt), len(digest)) == ("pbkdf2_sha256", "260000", 22, 43)


@pytest.mark.parametrize(
    ("before", "revision", "name"),
    [
        ("0016", "0017", "ST002-G Bullish MA crossover"),
        ("0018", "0019", "ST005-G PVT healthy uptrend"),
        ("0020", "0021", "ST009-G PVT oversold accumulation"),
    ],
)
def test_strategy_with_a_seeded_name_is_kept(start: Start, before: str, revision: str, name: str) -> None:
    url = start(before)
    with open_database(url).begin() as connection:
        schema_rows.write(connection, "strategies", [{"id": 50, "name": name, "description": "mine"}])
    upgrade_head(url, revision)
    with open_database(url).connect() as connection:
        rows = schema_rows.read(connection, "strategies", ["id", "name", "description", "is_builtin"])
    assert [row for row in rows if row["name"] == name] == [
        {"id": 50, "name": name, "description": "mine", "is_builtin": 0}
    ]
    assert len({row["name"] for row in rows}) == len(rows)


def test_global_template_is_kept_and_gets_its_version(start: Start, recorded: list[dict[str, Any]]) -> None:
    fact = next(item for item in recorded if item["revision"] == "0039")
    (example,) = fact["examples"]
    url = start("0038")
    with open_database(url).begin() as connection:
        schema_rows.write(connection, "signal_strategies", example["before"]["signal_strategies"])
    upgrade_head(url, "0039")
    with open_database(url).connect() as connection:
        strategies = schema_rows.read(
            connection,
            "signal_strategies",
            ["id", "scope", "owner_id", "name", "description", "latest_version"],
        )
        versions = schema_rows.read(
            connection,
            "signal_strategy_versions v JOIN signal_strategies s ON s.id = v.strategy_id",
            ["s.name", "s.scope", "v.version"],
            order="v.id",
        )
    kept = [row | {"kept": int(row["description"] == "mine")} for row in strategies]
    names = ("scope", "owner_id", "name", "latest_version", "kept")
    assert as_set({k: row[k] for k in names} for row in kept) == as_set(example["after"]["signal_strategies"])
    assert as_set(versions) == as_set(example["after"]["signal_strategy_versions"])


def as_set(rows: Any) -> set[str]:
    return {json.dumps(dict(row), sort_keys=True) for row in rows}


def test_times_that_are_no_times_stay_on_sqlite(ladder: Ladder) -> None:
    url = ladder.at("sqlite", "0052")
    texts = ["soon", "2026-01-10T09:15:00+05:30", 5]
    with open_database(url).begin() as connection:
        for number, text in enumerate(texts, start=1):
            row = {"id": number, "user_id": 1, "conditions_json": "[]", "expires_at": text}
            schema_rows.write(connection, "indicator_rules", [row])
    upgrade_head(url, "0053")
    with open_database(url).connect() as connection:
        rows = schema_rows.read(connection, "indicator_rules", ["expires_at"])
    assert [row["expires_at"] for row in rows] == ["soon", "2026-01-09 22:15:00", 5]


@pytest.mark.parametrize("revision", ["0001", "0022", "0043_add_backtest_runs", "0063"])
def test_database_with_rows_reaches_head(start: Start, revision: str) -> None:
    url = start(revision)
    with open_database(url).begin() as connection:
        before = schema_rows.fill(connection, 3)
    upgrade_head(url)
    with open_database(url).connect() as connection:
        after = {
            table: connection.exec_driver_sql(
                f"SELECT count(*) FROM {table} WHERE id BETWEEN 100 AND 102"
            ).scalar_one()
            for table in before
        }
    purged = {"indicator_rules"} if revision < "0028" else set()
    assert after == {table: 0 if table in purged else 3 for table in before}
