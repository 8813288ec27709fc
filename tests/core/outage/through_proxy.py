"""Fixtures of the outages: a runtime that reaches PostgreSQL through a proxy, and servers that may suffer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from app.db.apply.outcome import Round
from app.db.common.settings import DualWrite
from app.db.common.urls import Side
from app.db.session import SessionLocal
from app.db.session.runtime import Runtime
from tests.core.outage.proxy import Proxy
from tests.support.backends import Owner
from tests.support.fixtures import Templates
from tests.support.pairs import TestPair, wait_until


def write(name: str) -> float:
    """One acknowledged commit through a session; the seconds it took."""
    started = time.monotonic()
    with SessionLocal() as session:
        session.add(Owner(name=name))
        session.commit()
    return time.monotonic() - started


def names(
    pair: TestPair,
    side: Side,
) -> list[str]:
    """What was written, as one side has it."""
    return [row[0] for row in pair.app(side).execute("SELECT name FROM owner ORDER BY name").fetchall()]


def settled(runtime: Runtime, pair: TestPair, last: str) -> None:
    """Wait until the shadow has the last write and commits trust it again; then both sides are equal."""
    shadow = pair.pair.url(runtime.primary().other).get_backend_name()
    side = Side.SQLITE if shadow == "sqlite" else Side.POSTGRES
    if runtime.settings.dual_write is DualWrite.OFF:
        # Nobody else does; the pair's own connection may be from before the outage.
        assert isinstance(pair.new_applier().round(), Round)
    wait_until(lambda: last in names(pair, side) and not runtime.replicator.health().degraded, seconds=40)
    pair.assert_same()


@pytest.fixture
def proxy(templates: Templates) -> Iterator[Proxy]:
    made = Proxy(templates.server.port)
    yield made
    made.close()


Through = Callable[[TestPair], TestPair]


@pytest.fixture
def through(proxy: Proxy, templates: Templates) -> Iterator[Through]:
    """The same pair, reached through the proxy."""
    made: list[TestPair] = []

    def make(pair: TestPair) -> TestPair:
        url = pair.url.replace(f":{templates.server.port}/", f":{proxy.port}/")
        assert url != pair.url
        made.append(TestPair(pair.path, url))
        return made[-1]

    yield make
    for item in made:
        item.close()
