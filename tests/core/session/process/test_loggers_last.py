"""Warnings of the session layer survive an application that configures logging as Alembic's template does."""

from __future__ import annotations

import logging
import logging.config
from collections.abc import Iterator
from pathlib import Path

import pytest

import app.db.session.replicator.follower as replicator
from app.db.common.logs import logger

_INI = """
[loggers]
keys = root
[handlers]
keys =
[formatters]
keys =
[logger_root]
level = WARNING
handlers =
"""


@pytest.fixture
def configured(tmp_path: Path) -> Iterator[None]:
    """Alembic's `fileConfig(config.config_file_name)`, whose default switches off every logger it does not name."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    others = [item for item in logging.root.manager.loggerDict.values() if isinstance(item, logging.Logger)]
    were_off = {item: item.disabled for item in others}
    (tmp_path / "alembic.ini").write_text(_INI)
    logging.config.fileConfig(tmp_path / "alembic.ini")
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
    for item, off in were_off.items():
        item.disabled = off


def test_our_warnings_are_heard_and_others_show_that_it_was_the_real_thing(configured: None) -> None:
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    replicator.log.addHandler(ear := Ear())
    try:
        replicator.log.warning("dual write degraded to async: %s", "a test")
    finally:
        replicator.log.removeHandler(ear)
    assert heard == ["dual write degraded to async: a test"]
    assert logging.getLogger("alembic.runtime.migration").disabled


def test_a_logger_that_somebody_had_first_lasts_as_well(tmp_path: Path) -> None:
    first = logging.getLogger("somebody.was.first")
    first.disabled = True
    assert logger("somebody.was.first") is first
    assert not first.disabled and first.isEnabledFor(logging.WARNING)
