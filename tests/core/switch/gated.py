"""A small pair whose gates are asked: made once per module, broken and mended by each test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from app.db.common.urls import Side
from app.db.switch.gates import NAMES, Gate, evaluate
from loadtests.stage.embedded import EmbeddedPostgres
from tests.data.verify.small_pair import SmallPair, make_small_pair


@pytest.fixture(scope="module")
def module_pair(
    postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SmallPair]:
    name = f"g_{uuid.uuid4().hex[:12]}"
    pair = make_small_pair(tmp_path_factory.mktemp("gates"), postgres_server.create_database(name))
    yield pair
    pair.applier.stores.close()
    postgres_server.drop_database(name)


@pytest.fixture(scope="module", params=list(Side), ids=lambda side: f"to_{side}")
def to(request: pytest.FixtureRequest) -> Side:
    """Where the switch would go; a module's tests run by direction."""
    return Side(request.param)


@pytest.fixture
def ready(to: Side, module_pair: SmallPair) -> SmallPair:
    """A pair that may be switched as soon as it is verified."""
    module_pair.move(to.other)
    return module_pair


def gates(pair: SmallPair, *, max_pause_ms: int = 5_000, max_lag: int = 10_000) -> dict[str, Gate]:
    """All gates of a switch to the present shadow, by name."""
    found = evaluate(pair.applier, pair.shadow, max_pause_ms=max_pause_ms, max_lag=max_lag)
    assert [gate.name for gate in found] == list(NAMES)
    return {gate.name: gate for gate in found}


def closed(pair: SmallPair, **limits: int) -> dict[str, Gate]:
    return {name: gate for name, gate in gates(pair, **limits).items() if not gate.ok}


def dump(pair: SmallPair) -> dict[str, Any]:
    """Everything there is on both sides: rows of every table, and all objects."""
    sqlite, postgres = pair.applier.stores.sqlite.connection, pair.applier.stores.postgres.connection
    everything: dict[str, Any] = {"sqlite objects": sqlite.execute("SELECT * FROM sqlite_master").fetchall()}
    for (name,) in sqlite.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        everything[f"sqlite {name}"] = sqlite.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall()
    for name, query in {
        "constraints": "SELECT conname, conrelid, convalidated FROM pg_constraint ORDER BY 1, 2",
        "triggers": "SELECT tgname, tgrelid, tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2",
        "indexes": "SELECT indexrelid, indisvalid FROM pg_index ORDER BY 1",
    }.items():
        everything[f"postgres {name}"] = postgres.execute(query.encode()).fetchall()
    for (name,) in postgres.execute(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    ).fetchall():
        everything[f"postgres {name}"] = postgres.execute(
            f"SELECT * FROM {name} ORDER BY 1".encode()
        ).fetchall()
    return everything


@contextmanager
def broken(pair: SmallPair, breaking: str, mending: str, side: Side = Side.POSTGRES) -> Iterator[None]:
    """A statement on one side, and the one that takes it back."""
    connection = (
        pair.applier.stores.postgres.connection
        if side is Side.POSTGRES
        else pair.applier.stores.sqlite.connection
    )

    def run(text: str) -> Any:
        return connection.execute(text.encode() if side is Side.POSTGRES else text)

    run(breaking)
    try:
        yield
    finally:
        run(mending)


def the_only(pair: SmallPair, name: str, **limits: int) -> Gate:
    """The one gate that is closed; evaluating them changed nothing."""
    before = dump(pair)
    found = closed(pair, **limits)
    assert dump(pair) == before
    assert list(found) == [name]
    assert found[name].remedy and found[name].detail
    return found[name]
