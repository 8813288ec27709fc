"""At head the two databases and the ORM describe one schema; each difference that is meant is named here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

import app.models  # noqa: F401 - fills Base.metadata
from app.db.base import Base
from tests import facts
from tests.data.schema.conftest import HEAD, Ladder
from tests.data.schema.schema_reflection import Schema, reflect, values_of_check

POSTGRES_TYPES = {
    "INTEGER": "BIGINT",
    "TEXT": 'TEXT COLLATE "C"',
    "BOOLEAN": "BOOLEAN",
    "FLOAT": "DOUBLE PRECISION",
    "DATETIME": "TIMESTAMP WITHOUT TIME ZONE",
    "DATE": "DATE",
    "TIME": "TIME WITHOUT TIME ZONE",
}
UTC_NOW = "timezone('utc'::text, now())"

# The keys that differ between the databases: table, columns -> name on SQLite, name on PostgreSQL.
FOREIGN_KEYS_THAT_DIFFER = {
    ("alerts", "rule_id"): (None, "fk_alerts_rule_id_indicator_rules"),
    ("orders", "deployment_id"): ("fk_orders_deployment_id", "orders_deployment_id_fkey"),
    ("orders", "deployment_action_id"): (
        "fk_orders_deployment_action_id",
        "orders_deployment_action_id_fkey",
    ),
}


@pytest.fixture(scope="module")
def sqlite_head(ladder: Ladder) -> Schema:
    return read(ladder.at("sqlite", HEAD))


@pytest.fixture(scope="module")
def postgres_head(ladder: Ladder) -> Schema:
    return read(ladder.at("postgres", HEAD))


def read(url: str) -> Schema:
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        return reflect(connection)


def test_postgres_has_the_schema_of_sqlite(sqlite_head: Schema, postgres_head: Schema) -> None:
    assert postgres_head.keys() == sqlite_head.keys()
    assert len(postgres_head) == 53
    for table, sqlite in sqlite_head.items():
        postgres = postgres_head[table]
        assert [c["name"] for c in postgres["columns"]] == [c["name"] for c in sqlite["columns"]], table
        for here, there in zip(sqlite["columns"], postgres["columns"], strict=True):
            assert postgres_column(table, here) == there | {"default": plain(there["default"])}, table
        assert shown(postgres["unique_constraints"]) == shown(sqlite["unique_constraints"]), table
        assert postgres["indexes"] == sqlite["indexes"], table
        assert checks(postgres) == checks(sqlite), table


def test_postgres_has_the_foreign_keys_of_sqlite(sqlite_head: Schema, postgres_head: Schema) -> None:
    here, there = dict(foreign_keys(sqlite_head)), dict(foreign_keys(postgres_head))
    names = {
        key: (here[key][0] if key in here else None, there[key][0])
        for key in there
        if key not in here or here[key][0] not in (None, there[key][0])
    }
    assert names == FOREIGN_KEYS_THAT_DIFFER
    assert there.keys() - here.keys() == {("alerts", "rule_id")}
    assert all(there[key][1:] == here[key][1:] for key in here)


def foreign_keys(schema: Schema) -> Iterator[tuple[tuple[str, str], tuple[Any, ...]]]:
    for table, parts in schema.items():
        for key in parts["foreign_keys"]:
            rule = (key["ref_table"], key["ref_columns"], key["on_delete"], key["on_update"])
            yield (table, ",".join(key["columns"])), (key["name"], *rule)


def postgres_column(table: str, column: dict[str, Any]) -> dict[str, Any]:
    kind = "TEXT" if column["type"].startswith("VARCHAR") else column["type"]
    default = column["default"]
    if column["pk"]:
        default = f"nextval({table}_id_seq)"
    elif default == "CURRENT_TIMESTAMP":
        default = plain(UTC_NOW)
    elif kind == "BOOLEAN" and default is not None:
        default = {"0": "false", "1": "true"}[default]
    return column | {"type": POSTGRES_TYPES[kind], "default": plain(default)}


def plain(default: str | None) -> str | None:
    """A default without quotes and casts, which the databases show differently."""
    return default and re.sub(r"::[a-z ]+|'", "", default)


def shown(constraints: list[dict[str, Any]]) -> list[tuple[str | None, list[str]]]:
    """Unique keys with their names; the one that SQLite keeps without a name has PostgreSQL's there."""
    named = {("strategies_name_key", ("name",)): None}
    return [(named.get((c["name"], tuple(c["columns"])), c["name"]), c["columns"]) for c in constraints]


def checks(table: dict[str, Any]) -> dict[str, frozenset[str]]:
    return {check["name"]: values_of_check(check["sql"]) for check in table["check_constraints"]}


def test_orm_differs_from_the_chain_only_as_recorded(sqlite_head: Schema) -> None:
    engine = sa.create_engine("sqlite://")
    Base.metadata.create_all(engine, tables=application_tables())
    with engine.connect() as connection:
        orm = reflect(connection)
    assert set(differences(sqlite_head, orm)) == facts.drift()


def test_orm_runs_on_postgres(pg_url: str) -> None:
    engine = sa.create_engine(pg_url, poolclass=sa.NullPool)
    Base.metadata.create_all(engine, tables=application_tables())
    assert len(sa.inspect(engine).get_table_names()) == 53


def application_tables() -> list[sa.Table]:
    return [table for name, table in Base.metadata.tables.items() if not name.startswith("st_")]


def differences(chain: Schema, orm: Schema) -> Iterator[tuple[str, ...]]:
    """Names of the differences, in the words of the record."""
    assert chain.keys() == orm.keys()
    for table, here in chain.items():
        there = orm[table]
        left, right = ({c["name"]: c for c in side["columns"]} for side in (here, there))
        assert left.keys() == right.keys()
        if list(left) != list(right):
            yield "column order", table
        for name, column in left.items():
            assert column["type"] == right[name]["type"], (table, name)
            assert right[name]["default"] is None
            if column["default"] is not None:
                yield "server default only in chain", table, name
            if column["nullable"] != right[name]["nullable"]:
                yield "nullable", table, name
        for kind in ("unique_constraints", "check_constraints", "indexes"):
            yield from only_on_one_side(kind, table, here[kind], there[kind])
        yield from key_differences(table, here["foreign_keys"], there["foreign_keys"])


def only_on_one_side(
    kind: str, table: str, chain: list[dict[str, Any]], orm: list[dict[str, Any]]
) -> Iterator[tuple[str, ...]]:
    for items, others, side in ((chain, orm, "chain"), (orm, chain, "orm")):
        for item in items:
            if item not in others:
                yield kind, table, side, str(item["name"])


def key_differences(
    table: str, chain: list[dict[str, Any]], orm: list[dict[str, Any]]
) -> Iterator[tuple[str, ...]]:
    left, right = ({tuple(key["columns"]): key for key in side} for side in (chain, orm))
    for columns in sorted(left.keys() | right.keys()):
        if columns not in left or columns not in right:
            yield "foreign_keys", table, "orm" if columns in right else "chain", ",".join(columns)
            continue
        rules = [{k: v for k, v in side[columns].items() if k != "name"} for side in (left, right)]
        assert rules[0] == rules[1], (table, columns)
        if left[columns]["name"] != right[columns]["name"]:
            yield "foreign key name", table, ",".join(columns)
