"""Which rows are old: a time column and a number of days for each table, for candles one for each time frame."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Column, Table

from app.core.config import Settings
from app.core.time_utils import to_ist_naive
from app.models import Alert, AlertEvent, Candle, OrderJob, SystemEvent

FOR_EVER: Final = 0
# The name of a rule: a table, or candles of one time frame. Candles of another time frame have no rule.
DEFAULT_DAYS: Final[Mapping[str, int]] = {
    "alerts": 90,
    "alert_events": 90,
    "system_events": 90,
    "order_jobs": 30,
    "candles.1m": 30,
    "candles.5m": 90,
    "candles.15m": 180,
    "candles.30m": 365,
    "candles.1h": 730,
    "candles.1d": FOR_EVER,
}
# What recognises a repeated delivery, or was made by one, stays as long as a delivery may be repeated.
_OF_DELIVERIES: Final = ("alerts", "order_jobs")
_ENTRY: Final = re.compile(r"\s*([a-z_]+(?:\.\w+)?)\s*=\s*(\d{1,5})\s*")


class BadRule(ValueError):
    """ST_RETENTION_DAYS names no rule, or no number of days."""


@dataclass(frozen=True)
class Rule:
    """Rows of a table (of one time frame) whose time is more than `days` days ago are old."""

    name: str
    days: int
    table: Table
    time: Column[Any]
    timeframe: str | None = None

    def cutoff(self, now: datetime, window: timedelta) -> datetime:
        """The time before which rows are old, in the form of the column.

        Args:
            now: aware. window: how long a webhook delivery may be repeated; no alert or job goes before that.
        """
        if self.timeframe is not None:
            return to_ist_naive(now) - timedelta(days=self.days)  # candles carry the exchange's wall time
        kept = timedelta(days=self.days)
        return now - (max(kept, window) if self.name in _OF_DELIVERIES else kept)


def rules(settings: Settings) -> list[Rule]:
    """The rules in force, without those that keep rows for ever.

    Raises:
        BadRule: ST_RETENTION_DAYS cannot be read.
    """
    days = {**DEFAULT_DAYS, **_parse(settings.retention_days)}
    return [_rule(name, n) for name, n in days.items() if n != FOR_EVER]


def dedupe_window(settings: Settings) -> timedelta:
    """How long an equal delivery may count as a copy; 0 in the settings means for ever, which orders alone decide."""
    return timedelta(seconds=settings.webhook_dedupe_window_s)


def _parse(text: str) -> dict[str, int]:
    given: dict[str, int] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        match = _ENTRY.fullmatch(entry)
        name = match.group(1) if match else ""
        if match is None or (name not in DEFAULT_DAYS and not re.fullmatch(r"candles\.\w{1,8}", name)):
            names = ", ".join(DEFAULT_DAYS)
            raise BadRule(f"ST_RETENTION_DAYS: {entry!r} is not NAME=DAYS with one of these names: {names}")
        given[name] = int(match.group(2))
    return given


def _rule(name: str, days: int) -> Rule:
    table, _, timeframe = name.partition(".")
    model, column = {
        "alerts": (Alert, "received_at"),
        "alert_events": (AlertEvent, "triggered_at"),
        "system_events": (SystemEvent, "created_at"),
        "order_jobs": (OrderJob, "updated_at"),
        "candles": (Candle, "ts"),
    }[table]
    made: Table = model.__table__  # type: ignore[assignment]
    return Rule(name, days, made, made.c[column], timeframe or None)
