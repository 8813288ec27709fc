"""What a test may have another process do to a pair."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alembic.config import Config

from app.db.common.errors import SwitchError
from app.db.common.settings import ShimSettings
from app.db.common.urls import Side
from app.db.revisions.chain import upgrade_head
from app.db.switch.guarded import Told
from app.db.switch.moments import Moments
from tests.support.pairs import TestPair


def _prepare(pair: TestPair) -> None:
    pair.prepare()


def _backfill(pair: TestPair, chunk_rows: int) -> None:
    pair.backfill(chunk_rows)


def _round(pair: TestPair) -> None:
    pair.applier.round()


def _move(pair: TestPair, to: str, answer: str = "") -> None:
    """Writes what came of it as [name of the outcome or error, its text]."""
    outcome: Any
    try:
        outcome = pair.move(Side(to))
    except SwitchError as error:
        outcome = error
    if answer:
        Path(answer).write_text(json.dumps([type(outcome).__name__, str(outcome)]), encoding="utf-8")


def _told_move(pair: TestPair, to: str, command: str) -> None:
    """A move whose beginning and end a command is told of."""
    settings = ShimSettings(hook_before_fence=command, hook_after_promote=command, hook_on_abort=command)
    told = Told(Moments(settings), Side(to), pair.applier.stores)
    told.before()
    told.of(pair.move(Side(to)))


def _upgrade(pair: TestPair, primary: str, folder: str, revision: str) -> None:
    """Migrate a pair by the chain in a folder."""
    config = Config()
    config.set_main_option("script_location", folder)
    urls = {Side.SQLITE: pair.pair.sqlite, Side.POSTGRES: pair.pair.postgres}
    url = urls[Side(primary)].render_as_string(hide_password=False)
    upgrade_head(url, revision, config=config, partner=urls[Side(primary).other])


def _recover(pair: TestPair) -> None:
    pair.recover()


def _write_sqlite(pair: TestPair, statement: str) -> None:
    pair.lite.execute(statement)


def _write_postgres(pair: TestPair, statement: str) -> None:
    pair.pg.execute(statement.encode())


ACTIONS: dict[str, Callable[..., None]] = {
    "prepare": _prepare,
    "backfill": _backfill,
    "round": _round,
    "move": _move,
    "told_move": _told_move,
    "upgrade": _upgrade,
    "recover": _recover,
    "write_sqlite": _write_sqlite,
    "write_postgres": _write_postgres,
}
