"""Pairs of the benchmark: a SQLite file and a PostgreSQL database, prepared, opened, switched, closed."""

from __future__ import annotations

from pathlib import Path

from app.db.apply.round import Applier
from app.db.common.settings import load_settings
from app.db.common.urls import Pair, Side, make_pair, parse_url
from app.db.revisions.source import Alembic, SchemaSource
from app.db.sides.stores import Stores
from app.db.switch.coordinator import Coordinator, Moved
from loadtests.bench.lab import candles
from migration.fill.prepare import prepare

PAUSE_MS = 5_000


def prepare_candles(path: Path, url: str) -> None:
    """`prepare` with the candles table alone."""
    _prepare(path, url, candles.CandlesTable())


def prepare_sample(path: Path, url: str) -> None:
    """`prepare` as it is."""
    _prepare(path, url, Alembic())


def _prepare(path: Path, url: str, source: SchemaSource) -> None:
    pair, applier = make_applier(path, url)
    try:
        prepare(pair, applier.stores, source, report=lambda line: None)
    finally:
        close_applier(applier)


def make_applier(path: Path, url: str) -> tuple[Pair, Applier]:
    """A pair and an applier on it; close it with `close_applier`."""
    pair = make_pair(parse_url(f"sqlite:///{path}", name="sqlite"), parse_url(url, name="postgres"))
    return pair, Applier(Stores.open(pair, load_settings()))


def close_applier(applier: Applier) -> None:
    """Close both connections."""
    applier.stores.close()


def move(applier: Applier, to: Side) -> None:
    """Make a side primary; RuntimeError if the switch is aborted."""
    outcome = Coordinator(applier, max_pause_ms=PAUSE_MS).move(to)
    if not isinstance(outcome, Moved):
        raise RuntimeError(f"the benchmark's own switch was aborted: {outcome.reason}")
