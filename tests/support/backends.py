"""Fixtures of the session layer: a runtime on a pair of databases, as a backend process has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from app.db.common.settings import DualWrite, ShimSettings
from app.db.common.urls import Side
from app.db.session import runtime as runtimes
from app.db.session.at_start import begin
from app.db.session.runtime import Runtime, make_runtime
from tests.core.modes.chosen import MODES
from tests.support.pairs import TestPair, wait_until


class Model(DeclarativeBase):
    """The models of these tests, on tables of tests/support/shapes.py."""


class Owner(Model):
    __tablename__ = "owner"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]


class Pet(Model):
    __tablename__ = "pet"
    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("owner.id"))
    v: Mapped[str | None]


MakeRuntime = Callable[..., Runtime]


@pytest.fixture(params=MODES)
def backend(request: pytest.FixtureRequest) -> Iterator[MakeRuntime]:
    """Makes the runtime of a backend process on a pair; the last one made is what SessionLocal uses.

    A test that names no mode runs in each mode of the run; a time-out of the commit's wait is sync's affair.
    """
    mode = DualWrite(request.param)
    made: list[Runtime] = []
    former = runtimes.use(None)

    def make(
        databases: TestPair, *, wanted: Side = Side.SQLITE, shadow: bool = True, **settings: Any
    ) -> Runtime:
        urls = {Side.SQLITE: f"sqlite:///{databases.path}", Side.POSTGRES: databases.url}
        if settings.keys() & {"dual_write", "dual_write_timeout_ms"} and mode is not MODES[-1]:
            pytest.skip("names its mode itself")
        if "dual_write_timeout_ms" in settings:
            settings = {"dual_write": "sync", **settings}
        options = {"dual_write": mode, "dual_write_timeout_ms": 5_000, **settings}
        # These tests stand for requests, unless they say something else.
        options.setdefault("background_hold_ms", options.get("cutover_hold_ms", 1_500))
        current = make_runtime(
            urls[wanted],
            ShimSettings(shadow_database_url=urls[wanted.other] if shadow else "", **options),
        )
        made.append(current)
        runtimes.use(current)
        if shadow and current.router.prepared:
            begin(current)
            if current.settings.dual_write is not DualWrite.OFF:
                wait_until(lambda: current.replicator.health().phase is not None)
        return current

    yield make
    for current in made:
        current.stop()
    runtimes.use(former)
