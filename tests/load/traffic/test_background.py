"""A background writer that fails, or writes nothing, fails the run."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from loadtests.run.by_locust import must_have_written
from loadtests.stage.processes import Broken
from loadtests.traffic import background
from loadtests.traffic.ledger import Fact, Ledger


def test_a_writer_that_fails_again_and_again_gives_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    @contextmanager
    def failing() -> Iterator[None]:
        raise OperationalError("INSERT", {}, sqlite3.OperationalError("no such table: candles"))
        yield

    monkeypatch.setattr(background, "SessionLocal", failing)
    monkeypatch.setattr(background, "GIVE_UP_S", 0.2)
    with closing(Ledger(tmp_path / "background.jsonl")) as ledger, pytest.raises(OperationalError):
        background.BackgroundWriter(ledger, 1, "test")


def test_a_writer_that_wrote_nothing_breaks_the_run(tmp_path: Path) -> None:
    path = tmp_path / "background.jsonl"
    path.with_suffix(".log").write_text("again: no such table: candles")
    fact = Fact("candles", {"ts": "now"}, {"close": 1.0}, acknowledged=False)
    with closing(Ledger(path)) as ledger:
        ledger.write(fact)
        with pytest.raises(Broken, match="wrote nothing: again: no such table"):
            must_have_written(path)
        ledger.write(Fact("candles", {"ts": "now"}, {"close": 1.0}))
    must_have_written(path)
