"""Pairs of the benchmark: a SQLite file and a PostgreSQL database, prepared, opened, switched, closed."""

from __future__ import annotations

from pathlib import Path

from app.db.apply.round import Applier
from app.db.common.settings import load_settings
from app.db.common.urls import Pair, Side, make_pair, parse_url
from app.db.sides.postgres.store import PostgresStore
from app.db.sides.sqlite.store import SqliteStore
from app.db.switch.coordinator import Coordinator, Moved
from loadtests.bench.lab import candles
from migration.fill.prepare import prepare

PAUSE_MS = 5_000


def prepare_candles(path: Path, url: str) -> None:
    """`prepare` with the candles table alone."""
    with candles.plain_schema():
        prepare_sample(path, url)


def prepare_sample(path: Path, url: str) -> None:
    """`prepare` as it is."""
    pair, applier = make_applier(path, url)
    try:
        prepare(pair, applier, report=lambda line: None)
    finally:
        close_applier(applier)


def make_applier(path: Path, url: str) -> tuple[Pair, Applier]:
    """A pair and an applier on it; close it with `close_applier`."""
    pair = make_pair(parse_url(f"sqlite:///{path}", name="sqlite"), parse_url(url, name="postgres"))
    sqlite, postgres = SqliteStore(path, busy_timeout_ms=5_000), PostgresStore(pair.postgres, load_settings())
    return pair, Applier(sqlite, postgres)


def close_applier(applier: Applier) -> None:
    """Close both connections."""
    applier.sqlite.close()
    applier.postgres.close()


def move(applier: Applier, to: Side) -> None:
    """Make a side primary; RuntimeError if the switch is aborted."""
    outcome = Coordinator(applier, max_pause_ms=PAUSE_MS).move(to)
    if not isinstance(outcome, Moved):
        raise RuntimeError(f"the benchmark's own switch was aborted: {outcome.reason}")
