"""Without `install(app)` the first session of a process begins what that line would: the switch, the thread."""

from __future__ import annotations

import logging
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest

from app.db.common import deadline
from app.db.common.errors import ConfigurationError
from app.db.common.settings import DualWrite, ShimSettings
from app.db.common.urls import Side
from app.db.session import SessionLocal, at_start
from app.db.session import runtime as runtimes
from app.db.session.runtime import Runtime
from app.db.switch import guarded
from tests.support.backends import MakeRuntime
from tests.support.pairs import TestPair, wait_until


def _turned(pair: TestPair, primary: Side, backend: MakeRuntime, **settings: object) -> Runtime:
    current = backend(pair, wanted=primary, cutover="auto", **settings)
    urls = {Side.SQLITE: f"sqlite:///{pair.path}", Side.POSTGRES: pair.url}
    wishes = current.settings.model_copy(update={"shadow_database_url": urls[primary]})
    again = runtimes.make_runtime(urls[primary.other], wishes)
    current.stop()
    runtimes.use(again)
    return again


@pytest.fixture
def open_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which gates a switch has is not the affair of these tests."""
    monkeypatch.setattr(guarded.gates, "evaluate", lambda *_arguments, **_options: [])
    monkeypatch.setattr(guarded.gates, "require", lambda _found: None)
    monkeypatch.setattr(at_start, "_validate", lambda _current: None)


def _dialect() -> str:
    with SessionLocal() as session:
        return str(session.connection().dialect.name)


@pytest.mark.usefixtures("open_gates")
def test_the_first_session_switches_to_the_side_that_the_url_names(
    pair: TestPair, primary: Side, backend: MakeRuntime
) -> None:
    current = _turned(pair, primary, backend)
    try:
        assert _dialect() == ("postgresql" if primary is Side.SQLITE else "sqlite")
        assert current.primary() is primary.other
        if current.settings.dual_write is not DualWrite.OFF:  # then nobody applies
            wait_until(lambda: current.replicator.health().phase is not None)
    finally:
        current.stop()


def test_gates_that_are_not_met_are_logged_and_the_process_follows(
    pair: TestPair, primary: Side, backend: MakeRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing was verified."""
    current = _turned(pair, primary, backend)
    try:
        with caplog.at_level(logging.WARNING, "sigma.db"):
            _dialect()
            _dialect()
        refusals = [line for line in caplog.messages if f"not switching to {primary.other}" in line]
        following = [line for line in caplog.messages if f"but {primary} is primary" in line]
        assert current.primary() is primary
        assert refusals
        assert len(following) == 1
    finally:
        current.stop()


@pytest.mark.usefixtures("open_gates")
def test_within_a_request_nobody_waits_for_the_switch_to_begin(
    pair: TestPair, primary: Side, backend: MakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = _turned(pair, primary, backend)
    release, switch = threading.Event(), at_start.switch_at_start
    calls: list[Runtime] = []

    def slow(of: Runtime) -> bool:
        calls.append(of)
        assert release.wait(20)
        return switch(of)

    monkeypatch.setattr(at_start, "switch_at_start", slow)
    try:
        with deadline.serving(2_300):
            assert _dialect() == ("sqlite" if primary is Side.SQLITE else "postgresql")
            _dialect()
        release.set()
        wait_until(lambda: current.primary() is primary.other)
        assert calls == [current]
        wait_until(lambda: "st-begin" not in {thread.name for thread in threading.enumerate()})
    finally:
        release.set()
        current.stop()


def test_a_deployment_may_begin_without_a_file_and_a_lost_file_is_not_made_anew(
    replicating: TestPair, tmp_path: Path
) -> None:
    path = tmp_path / "new.db"
    settings = ShimSettings(shadow_database_url=replicating.url, dual_write=DualWrite.OFF)
    for holds_nothing in (False, True):
        if holds_nothing:
            replicating.pg.execute("DROP SCHEMA public CASCADE")
            replicating.pg.execute("CREATE SCHEMA public")
        current = runtimes.make_runtime(f"sqlite:///{path}", settings)
        try:
            with (
                nullcontext() if holds_nothing else pytest.raises(ConfigurationError, match="no SQLite file")
            ):
                at_start.begin(current)
        finally:
            current.stop()
        assert path.exists() is holds_nothing
