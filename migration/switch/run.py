"""Cutover and rollback as commands: their steps for people, when they may begin, and the foreign keys after the switch.

A switch can be put into a window of time. Before the window opens, the gates are asked again and again. What
is closed is said, so that it can be mended in time. Within the window the switch begins as soon as all gates
agree. When the window closes without a switch, the command gives up. Waiting takes no lock, raises no fence
and writes nothing down: a process that is killed while it waits leaves nothing behind.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

import psycopg

from app.db.common.errors import (
    ConfigurationError,
    Refused,
    StaleAttempt,
    SwitchError,
    Unavailable,
    first_line,
)
from app.db.common.urls import Side
from app.db.sides.postgres import deferred
from app.db.sides.stores import Stores
from app.db.switch.gates import Gate
from app.db.switch.guarded import Already
from migration.common.pace import duration

T = TypeVar("T")
ASK_S = 30.0  # between two looks at the gates before the window opens
AGAIN_S = 1.0  # the same within it
JUST_NOW = timedelta(hours=1)  # a time of day that passed within it is a mistake rather than tomorrow's
sleep = time.sleep
_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "min": 60, "s": 1}
_DURATION = re.compile(r"(?:(\d+)(d|h|min|m|s))(?:\s*(\d+)(h|min|m|s))?")
_TIME = r"(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d)?"
_WINDOW = re.compile(rf"({_TIME})\s*-\s*({_TIME})")

STEPS = (
    "drain the log and compare the keys changed since the verify, while writers go on",
    "raise the fence on {old}: writers wait from here on",
    "drain to the last change and compare what changed meanwhile",
    "{keys}commit the new primary {new} in PostgreSQL's control row",
    "SQLite's control row follows, waiting writers go on against {new}",
)


def steps(to: Side) -> list[str]:
    """What a switch does, in order, for --dry-run."""
    keys = "add foreign keys, advance sequences, " if to is Side.POSTGRES else ""
    return [step.format(old=to.other, new=to, keys=keys) for step in STEPS]


def validate_keys(stores: Stores, report: Callable[[str], None]) -> list[str]:
    """Validate PostgreSQL's foreign keys after it became primary. Returns those that do not hold yet.

    The switch is done: what fails here is reported and can be repeated by running cutover again.
    """
    try:
        return deferred.validate_foreign_keys(stores.postgres.connection)
    except psycopg.Error as error:
        report(f"foreign keys were not validated ({first_line(error)}); run st-migrate cutover again")
        return []


@dataclass(frozen=True)
class Window:
    """When a switch may begin, in seconds since 1970."""

    opens: float
    closes: float

    def __str__(self) -> str:
        return f"{_shown(self.opens)} to {_shown(self.closes)}"


@dataclass(frozen=True)
class GaveUp:
    """The window closed without a switch; `reasons` is what kept it from beginning at the last look."""

    window: Window
    reasons: tuple[str, ...]


def window(at: str, within: str, lasts_s: float, now: datetime) -> Window | None:
    """The window that --at and --within describe. None where neither is given.

    Args:
        at: a date and time in ISO form, or a time of day, which is the next one. It is local time where it
            has no offset.
        within: how long the window is open (`90m`, `1h30m`), or from when to when (`22:00-23:30`).
        lasts_s: how long it is open where only `at` is given.
        now: with its time zone.

    Raises:
        ConfigurationError: a text cannot be read, is in the past, or both say when the window opens.
    """
    if not at and not within:
        return None
    if clocks := _WINDOW.fullmatch(within.strip()):
        if at:
            raise ConfigurationError(
                "--at and --within both say when to begin", hint="give --within a duration"
            )
        opens, closes = (_next(text, now) for text in clocks.groups())
        if opens == closes:
            raise ConfigurationError(
                f"--within {within} ends when it begins", hint="name a later end, or a duration such as 30m"
            )
        if opens > closes:
            opens = now  # the window is open
        else:
            _refuse_just_now(f"--within {within} closed", clocks[2], now)
        return Window(opens.timestamp(), closes.timestamp())
    opens = _moment(at, now) if at else now
    if opens < now:
        raise ConfigurationError(f"--at {at} is in the past", hint="name a time that comes")
    return Window(opens.timestamp(), opens.timestamp() + (_seconds(within) if within else lasts_s))


def _moments(clock: str, now: datetime) -> list[datetime]:
    """The moments of yesterday, today and tomorrow with this time of day, in order.

    Where clocks go back a day may have two of them. Where they go forward over it, what they show instead counts.
    """
    hour, minute, second = (*map(int, clock.split(":")), 0)[:3]
    today = now.replace(tzinfo=None, hour=hour, minute=minute, second=second, microsecond=0)
    found: set[datetime] = set()
    for day in (today - timedelta(days=1), today, today + timedelta(days=1)):
        both = [day.replace(fold=fold).astimezone() for fold in (0, 1)]
        found |= {moment for moment in both if moment.replace(tzinfo=None) == day} or {max(both)}
    return sorted(found)


def _next(clock: str, now: datetime) -> datetime:
    """The next moment with this time of day."""
    return next(moment for moment in _moments(clock, now) if moment >= now)


def _last(clock: str, now: datetime) -> datetime:
    """The last moment with this time of day that has passed."""
    return max(moment for moment in _moments(clock, now) if moment < now)


def _refuse_just_now(what: str, clock: str, now: datetime) -> None:
    """Refuse a time of day that has just passed: a command must not wait for a day by mistake."""
    ago = now - _last(clock, now)
    if ago <= JUST_NOW:
        raise ConfigurationError(
            f"{what} {duration(ago.total_seconds())} ago",
            hint=f"name a time that comes; for the next one, --at {_next(clock, now).isoformat()}",
        )


def _moment(text: str, now: datetime) -> datetime:
    if re.fullmatch(_TIME, text):
        comes = _next(text, now)
        _refuse_just_now(f"--at {text} was", text, now)
        return comes
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise ConfigurationError(
            f"--at cannot be read: {text!r}", hint="write 22:30, or 2026-11-28T22:30, or with an offset"
        ) from None


def _seconds(text: str) -> float:
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ConfigurationError(
            f"--within cannot be read: {text!r}",
            hint="write 90m, 1h30m, 45s, or a window such as 22:00-23:30",
        )
    first, unit, second, smaller = found.groups()
    return float(int(first) * _UNITS[unit] + (int(second) * _UNITS[smaller] if second else 0))


def _shown(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")


def in_window(
    window: Window,
    ask: Callable[[], list[Gate] | Already],
    attempt: Callable[[float], T],
    again: Callable[[T], str | None],
    report: Callable[[str], None],
) -> T | GaveUp:
    """Wait for the window and for the gates, then make the attempt; holds nothing while it waits.

    Args:
        ask: evaluates the gates. attempt: makes the switch, and begins it within so many seconds.
        again: why an attempt that did not switch may be repeated; None: it may not, or has switched.

    Raises:
        SwitchError: see `guarded.switch`; a gate that is closed, or a database that is away, is waited for.
    """
    report(f"a switch may begin from {window}; no fence is up while this waits, Ctrl-C ends it")
    told: tuple[str, ...] | None = None
    while True:
        reasons = _closed(ask)
        now = time.time()
        if not reasons and window.opens <= now < window.closes:
            try:
                done = attempt(window.closes - now)
            except Refused as refused:
                reasons = refused.reasons or (str(refused),)
            else:
                why = again(done)
                if why is None:
                    return done
                reasons = (why,)
        names = tuple(reason.partition(":")[0] for reason in reasons)
        if names != told:
            told = names
            opens = f", the window opens in {duration(window.opens - now)}" if now < window.opens else ""
            for reason in reasons:
                report(f"not yet: {reason}")
            report(f"{'waiting for that' if reasons else 'every gate agrees'}{opens}")
        now = time.time()
        if now >= window.closes:
            return GaveUp(window, reasons or ("the window had closed when the gates agreed",))
        sleep(
            max(
                0.0,
                min(ASK_S, window.opens - now) if now < window.opens else min(AGAIN_S, window.closes - now),
            )
        )


def _closed(ask: Callable[[], list[Gate] | Already]) -> tuple[str, ...]:
    """Why the switch may not begin now. Nothing where all gates agree, or there is nothing to switch."""
    try:
        found = ask()
    except Refused as refused:
        return refused.reasons or (str(refused),)
    except (Unavailable, StaleAttempt, psycopg.OperationalError, sqlite3.OperationalError) as error:
        return (first_line(error),)
    except SwitchError as error:
        if type(error) is not SwitchError:
            raise  # another file, another pair: waiting mends nothing
        return (error.message,)
    if isinstance(found, Already):
        return ()
    return tuple(f"{gate.name}: {gate.detail} ({gate.remedy})" for gate in found if not gate.ok)
