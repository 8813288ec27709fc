"""When the Indian cash market is open: Monday to Friday, 09:15 to 15:30 IST, holidays from a file."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from app.config_files import load_holidays
from app.core.time_utils import IST_OFFSET, to_ist_naive, utc_now

__all__ = ["IST_OFFSET", "is_market_open_now", "is_preopen_now"]

_PREOPEN_MINUTE: Final = 9 * 60
_OPEN_MINUTE: Final = 9 * 60 + 15
_CLOSE_MINUTE: Final = 15 * 60 + 30
_SATURDAY: Final = 5


def _is_trading_day(ist: datetime) -> bool:
    return ist.weekday() < _SATURDAY and ist.date().isoformat() not in load_holidays()


def _minute_of_day(ist: datetime) -> int:
    return ist.hour * 60 + ist.minute


def is_market_open_now() -> bool:
    """True from 09:15 to 15:30 IST, both minutes included, on a trading day."""
    ist = to_ist_naive(utc_now())
    return _OPEN_MINUTE <= _minute_of_day(ist) <= _CLOSE_MINUTE and _is_trading_day(ist)


def is_preopen_now(now_ist: datetime | None = None) -> bool:
    """True from 09:00 up to but not including 09:15 IST on a trading day.

    `now_ist` is naive IST wall time and defaults to the clock.
    """
    ist = now_ist or to_ist_naive(utc_now())
    return _PREOPEN_MINUTE <= _minute_of_day(ist) < _OPEN_MINUTE and _is_trading_day(ist)
