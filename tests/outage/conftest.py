"""Fixtures of the outages: a runtime that reaches PostgreSQL through a proxy, and servers that may suffer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from app.db.runtime import Runtime
from app.db.session import SessionLocal
from app.db.urls import Side
from tests.outage.proxy import Proxy
from tests.session.conftest import MakeRuntime, Owner, backend  # noqa: F401 - fixtures
from tests.support.fixtures import (  # noqa: F401 - fixtures
    Templates,
    clone,
    copying,
    pair,
    primary,
    promoted,
    replicating,
    templates,
    zygote,
)
from tests.support.pairs import TestPair, wait_until
from tests.support.perishable import mortal, victim  # noqa: F401 - fixtures


def write(name: str) -> float:
    """One acknowledged commit through a session; the seconds it took."""
    started = time.monotonic()
    with SessionLocal() as session:
        session.add(Owner(name=name))
        session.commit()
    return time.monotonic() - started


def names(
    pair: TestPair,  # noqa: F811
    side: Side,
) -> list[str]:
    """What was written, as one side has it."""
    return [row[0] for row in pair.app(side).execute("SELECT name FROM owner ORDER BY name").fetchall()]


def settled(runtime: Runtime, pair: TestPair, last: str) -> None:  # noqa: F811
    """Wait until the shadow has the last write and commits trust it again; then both sides are equal."""
    shadow = pair.pair.url(runtime.primary().other).get_backend_name()
    side = Side.SQLITE if shadow == "sqlite" else Side.POSTGRES
    wait_until(lambda: last in names(pair, side) and not runtime.replicator.health().degraded, seconds=40)
    pair.assert_same()


@pytest.fixture
def proxy(templates: Templates) -> Iterator[Proxy]:  # noqa: F811
    made = Proxy(templates.server.port)
    yield made
    made.close()


Through = Callable[[TestPair], TestPair]


@pytest.fixture
def through(proxy: Proxy, templates: Templates) -> Iterator[Through]:  # noqa: F811
    """The same pair, reached through the proxy."""
    made: list[TestPair] = []

    def make(pair: TestPair) -> TestPair:  # noqa: F811
        url = pair.url.replace(f":{templates.server.port}/", f":{proxy.port}/")
        assert url != pair.url
        made.append(TestPair(pair.path, url))
        return made[-1]

    yield make
    for item in made:
        item.close()
