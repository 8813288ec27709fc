"""Values as SQLite stores them: for each column that a room leaves out, one that fits its type."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Boolean, Column, Date, DateTime, Float, Integer, Time, TypeDecorator

from app.models import Alert
from loadtests.stage.sample.surprises import GONE, ROWS

START = datetime(2026, 1, 2, 3, 45)
USERS = (
    "admin", "trader_one", "swing_desk", "options-desk", "मीनाक्षी_डेस्क", "Trader_One", "tv-bot",
    "équipe-momentum", "paper.only",
)  # fmt: skip
# Several are traded by nobody who sends deliveries; see `loadtests.traffic.signals`.
SYMBOLS = (
    "RELIANCE", "NTPC", "COALINDIA", "HINDUNILVR", "KOTAKBANK", "BAJFINANCE", "NYKAA", "FEDERALBNK",
    "PERSISTENT", "SUZLON", "SAIL", "HAVELLS", "BEL", "HAL", "IDEA", "GOLDBEES", "SBIN", "INFY", "TCS", "ITC",
)  # fmt: skip
WORDS = ("résistance", "तेजी", "½ position", "₹ target", "“squeeze”", "Опционы", "naïve exit", "🔒", "plain")
TABLES = Alert.metadata.tables
Row = dict[str, Any]


class Place(NamedTuple):
    """Where a row stands: the how manieth of its table it is (from 0), its id, and the source of chance."""

    number: int
    id: int
    draw: random.Random

    def one_of(self, choices: Sequence[Any]) -> Any:
        """One of some values in turn."""
        return choices[self.number % len(choices)]

    def often(self, every: int) -> bool:
        """Whether this row is one of each so many."""
        return self.number % every == 0


def ids_of(table: str) -> list[int]:
    """The ids that a table holds: those of deleted rows are left out."""
    gone = GONE.get(table, range(0))
    return [number for number in range(1, ROWS[table] + len(gone) + 1) if number not in gone]


_IDS = {table: ids_of(table) for table in ROWS}


def parent(table: str, draw: random.Random) -> int:
    """The id of some row of a table."""
    return draw.choice(_IDS[table])


def moment(number: float, *, fraction: bool = True) -> str:
    """A time in January 2026, later for a larger number (of seconds), as the application stores it."""
    at = START + timedelta(seconds=number)
    return at.isoformat(" ", "microseconds" if fraction else "seconds")


def day(number: int) -> str:
    """A date from October 2025 on."""
    return (START - timedelta(days=90) + timedelta(days=number)).date().isoformat()


def price(draw: random.Random) -> float:
    """A price in rupees with every digit a float can have."""
    return draw.uniform(20, 9000)


def json_text(**members: Any) -> str:
    """A JSON object as the application writes it, not escaped."""
    return json.dumps(members, ensure_ascii=False, separators=(",", ":"))


def sentence(head: str, length: int) -> str:
    """A text of exactly so many characters that begins like `head`; JSON stays JSON."""
    if head[:1] in "{[":
        empty = json_text(note="")
        text = empty[:-2] + "x" * (length - len(empty)) + empty[-2:]
    else:
        text = f"{head} " + "é" * max(0, length - len(head) - 1)
    return text[:length]


def usual(column: Column[Any], at: Place) -> Any:
    """A value for a column; NULL one time in four where that is allowed."""
    if column.primary_key:
        return at.id
    if column.nullable and at.draw.random() < 0.25:
        return None
    for key in column.foreign_keys:
        return parent(key.column.table.name, at.draw)
    kind = column.type.impl if isinstance(column.type, TypeDecorator) else column.type
    match kind:
        case Boolean():
            return at.draw.randint(0, 1)
        case Integer():
            return at.draw.randint(0, 500)
        case Float():
            return price(at.draw)
        case Date():
            return day(at.number)
        case Time():
            return "09:15:00.000000"
        case DateTime():
            return moment(at.number * 140 + at.draw.random())
    return _text(column, at)


def _text(column: Column[Any], at: Place) -> str:
    if column.name.endswith("_json"):
        return json_text(n=at.number, note=at.one_of(WORDS), value=price(at.draw))
    length = getattr(column.type, "length", None)
    if length is not None and length <= 16:
        return f"{column.name[:8]}{at.number}"[:length]
    return f"{at.one_of(WORDS)} {column.name} {at.number}"[:length]
