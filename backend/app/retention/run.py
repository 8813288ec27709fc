"""A run: every rule, batch after batch, with pauses, so that the webhook has the database most of the time.

After each batch the run pauses four times as long as its transaction took: under load batches take longer, and
so do the pauses. While a shadow is behind, the run waits, and gives up when that lasts. A database that cannot
serve now ends the run with its reason; the next run begins with what is left.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError

from app.core.config import BACKEND_DIR, Settings
from app.core.time_utils import utc_now
from app.db.common.errors import SwitchError, first_line
from app.db.session.runtime import runtime
from app.retention import archive, metrics
from app.retention.batch import settle, take_out
from app.retention.holds import held
from app.retention.old.parts import Part, Sessions, batches, parts
from app.retention.old.rules import BadRule, Rule, dedupe_window, rules
from app.services.shared.system_events import add_system_event

logger = logging.getLogger(__name__)
SHARE: Final = 0.2  # of the time that batches take at most
PAUSE_AT_LEAST: Final = 0.01
LAG_PATIENCE_SECONDS: Final = 60.0
STATUS_FILE: Final = "status.json"


class TooFarBehind(RuntimeError):
    """The shadow does not catch up with what retention deletes."""


@dataclass
class RuleResult:
    """What a run did for one rule; `changed` batches were left because their rows had just changed.

    `unfit` rows stay because a value in them does not fit its column, as SQLite allows: no archive could bring them back.
    """

    rows: int = 0
    archives: int = 0
    changed: int = 0
    unfit: int = 0


@dataclass
class RunResult:
    """What a run did."""

    started: str
    finished: str | None = None
    rules: dict[str, RuleResult] = field(default_factory=dict)
    settled: int = 0
    damaged: tuple[str, ...] = ()
    stopped: bool = False
    error: str | None = None

    @property
    def rows(self) -> int:
        """Rows that went, over all rules."""
        return sum(rule.rows for rule in self.rules.values())

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Retention:
    """Runs retention on the application's database.

    Args:
        sessions: makes a new session.
        folder: where archives are kept; one run at a time works in it.
        lag_seconds: how far the shadow is behind, None where there is none.
        pause: waits that many seconds, or until the run is to stop.
    """

    def __init__(
        self,
        sessions: Sessions,
        settings: Settings,
        *,
        folder: Path | None = None,
        lag_seconds: Callable[[], float | None] = lambda: None,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self._sessions = sessions
        self._settings = settings
        self.folder = folder or archive_folder(settings)
        self._lag = lag_seconds
        self._stop = threading.Event()
        self._pause = pause or self._stop.wait
        with suppress(BadRule):  # a run says so
            metrics.begin(rule.name for rule in rules(settings))

    def stop(self) -> None:
        """Let the run end after its present batch."""
        self._stop.set()

    def run(self, now: datetime | None = None) -> RunResult:
        """Take out everything that is old at `now` and needed by nobody.

        Raises:
            BadRule: a rule cannot be read or applied; nothing was done.
            FolderInUse: another run works in the folder.
        """
        now = now or utc_now()
        wanted = rules(self._settings)
        result = RunResult(started=utc_now().isoformat())
        with archive.only_user(self.folder):
            try:
                settled = settle(self._sessions, self.folder)
                result.settled, result.damaged = settled.finished + settled.forgotten, settled.damaged
                for rule in wanted:
                    self._apply(rule, now, result)
            except BadRule:
                raise
            except (SQLAlchemyError, SwitchError, TooFarBehind, OSError, ValueError, TypeError) as error:
                result.error = first_line(error)
                metrics.FAILED.inc()
            else:
                metrics.LAST_SUCCESS.set(time.time())
            result.stopped = self._stop.is_set()
            result.finished = utc_now().isoformat()
            self._note(result)
        return result

    def _apply(self, rule: Rule, now: datetime, result: RunResult) -> None:
        done = result.rules[rule.name] = RuleResult()
        cutoff = rule.cutoff(now, dedupe_window(self._settings))
        with self._sessions() as db:
            listed = list(parts(db, rule, cutoff))
        stay = held(self.folder, rule.table, now)
        for part in listed:
            self._take_out_all(part, stay, now, done)

    def _take_out_all(self, part: Part, stay: frozenset[int], now: datetime, done: RuleResult) -> None:
        unfit: set[int] = set()
        for found in batches(self._sessions, part, self._settings.retention_batch_rows, stay, unfit):
            if self._stop.is_set():
                return
            self._wait_for_shadow()
            started = time.monotonic()
            if take_out(self._sessions, part, found, self.folder, now):
                done.rows += len(found)
                done.archives += 1
            else:
                done.changed += 1
            taken = time.monotonic() - started
            self._pause(max(PAUSE_AT_LEAST, taken * (1 / SHARE - 1)))
        done.unfit += len(unfit)

    def _wait_for_shadow(self) -> None:
        until = time.monotonic() + LAG_PATIENCE_SECONDS
        while (lag := self._lag()) is not None and lag > self._settings.retention_max_lag_s:
            if time.monotonic() > until or self._stop.is_set():
                raise TooFarBehind(f"the shadow is {lag:.0f} s behind; retention waits for the next run")
            self._pause(0.5)

    def _note(self, result: RunResult) -> None:
        """The status file, and an event that shows in the application."""
        try:
            archive.replace(self.folder / STATUS_FILE, json.dumps(result.as_dict(), indent=1) + "\n")
        except OSError as error:  # a full disk: the event tells of it all the same
            logger.warning("the retention run could not be noted in its folder: %s", error)
        if not (result.rows or result.error or result.damaged):
            return
        level, message = ("ERROR", "failed") if result.error or result.damaged else ("INFO", "finished")
        try:
            with self._sessions() as db:
                add_system_event(
                    db,
                    level=level,
                    category="retention",
                    message=f"Retention run {message}",
                    details={
                        "rows": {name: rule.rows for name, rule in result.rules.items() if rule.rows},
                        "damaged": list(result.damaged),
                        "error": result.error,
                    },
                )
                db.commit()
        except (SQLAlchemyError, SwitchError) as error:
            logger.warning("the retention run could not be noted as an event: %s", error)


def shadow_lag_seconds() -> float | None:
    """How far this process sees the shadow behind; None in single mode."""
    current = runtime()
    if current.pair is None or not current.router.prepared:
        return None
    seen = current.observer.look()
    return seen.lag.seconds if seen is not None and seen.lag is not None else None


def archive_folder(settings: Settings) -> Path:
    """Where archives are kept: ST_RETENTION_DIR, or beside the backend."""
    return Path(settings.retention_dir.strip() or BACKEND_DIR / "archive")


def last_run(folder: Path) -> dict[str, Any] | None:
    """What the last run noted; None if there was none."""
    path = folder / STATUS_FILE
    found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    return found
