"""The database that the demo moves: the recorded sample if it is beside the project, else one made here.

The made one has the backend's own schema at its head and what makes a real file hard to move: rows whose
parent is gone, text longer than its column, many candles, and times with and without fractions.
"""

from __future__ import annotations

import gzip
import random
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, insert

from app.core.auth import hash_password
from app.db.revisions.chain import upgrade_head
from app.models import Alert

REPO = Path(__file__).resolve().parents[1]
RECORDED = REPO.parent / "shared" / "sigmatrader" / "sample" / "sigma_trader.db.gz"
USERS = ("trader_one", "swing_desk", "options-desk", "मीनाक्षी_डेस्क", "tv-bot", "équipe-momentum")
SYMBOLS = ("SBIN", "INFY", "TCS", "ITC", "WIPRO", "LT", "TITAN", "DLF")
START = datetime(2026, 1, 2, 9, 15)
BATCH = 2000

Rows = Iterator[Mapping[str, Any]]


def provide(path: Path, *, recorded: Path | None = RECORDED, seed: int = 1) -> str:
    """Put a database at `path`.

    Returns:
        Where it comes from, for people.
    """
    if recorded is not None and recorded.exists():
        with gzip.open(recorded) as packed, path.open("wb") as file:
            shutil.copyfileobj(packed, file)
        return "the recorded sample"
    make(path, seed=seed)
    return "made by the backend itself"


def users_of(path: Path) -> list[str]:
    """Names of the stored users, the administrator last: senders name their own user."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT username FROM users ORDER BY role = 'ADMIN', id").fetchall()
    return [name for (name,) in rows]


def make(path: Path, *, seed: int = 1, scale: int = 1) -> None:
    """Make a database at the schema's head with about 50,000 rows times `scale`."""
    url = f"sqlite:///{path}"
    upgrade_head(url)
    engine = create_engine(url)
    draw = random.Random(seed)
    tables = Alert.metadata.tables
    with engine.begin() as connection:
        for name, rows in _content(draw, scale):
            batch: list[Mapping[str, Any]] = []
            for row in rows:
                batch.append(row)
                if len(batch) == BATCH:
                    connection.execute(insert(tables[name]), batch)
                    batch = []
            if batch:
                connection.execute(insert(tables[name]), batch)
        # Foreign keys are declared and not enforced here, as ever: the parents go, the children stay.
        connection.exec_driver_sql("DELETE FROM alerts WHERE id % 97 = 0")
    engine.dispose()


def _content(draw: random.Random, scale: int) -> Iterator[tuple[str, Rows]]:
    yield "users", _users()
    yield "alerts", _alerts(draw, 9_000 * scale)
    yield "orders", _orders(draw, 9_000 * scale)
    yield "candles", _candles(draw, 3_000 * scale)
    yield "system_events", _events(draw, 8_000 * scale)
    yield "positions", _positions(draw)


def _users() -> Rows:
    hashed = hash_password("sample-pass-2026")
    for number, name in enumerate(USERS, start=2):
        yield {"id": number, "username": name, "password_hash": hashed, "display_name": f"{name} ☕"}


def _alerts(draw: random.Random, count: int) -> Rows:
    for number in range(1, count + 1):
        symbol = draw.choice(SYMBOLS)
        yield {
            "id": number,
            "user_id": draw.randint(2, 1 + len(USERS)),
            "symbol": f"NSE:{symbol}",
            "exchange": "NSE",
            "interval": "15",
            "action": draw.choice(("BUY", "SELL")),
            "qty": float(draw.randint(1, 500)),
            "price": round(draw.uniform(20, 9000), 2) if number % 3 else None,
            "raw_payload": f'{{"secret":"***","symbol":"NSE:{symbol}","n":{number}}}',
            "reason": "é" * 1500 if number % 500 == 0 else None,
            "bar_time": START + timedelta(minutes=number),
        }


def _orders(draw: random.Random, count: int) -> Rows:
    for number in range(1, count + 1):
        yield {
            "id": number,
            "user_id": draw.randint(2, 1 + len(USERS)),
            "alert_id": number,
            "client_order_id": f"TV:NSE:{number}:made" if number % 4 else None,
            "symbol": f"NSE:{draw.choice(SYMBOLS)}",
            "exchange": "NSE",
            "side": draw.choice(("BUY", "SELL")),
            "qty": float(draw.randint(1, 500)),
            "price": round(draw.uniform(20, 9000) * 20) / 20,
            "product": "CNC",
            "status": draw.choice(("WAITING", "EXECUTED", "CANCELLED", "FAILED")),
            "error_message": None if number % 50 else "broker said: " + "x" * 900,
        }


def _candles(draw: random.Random, per_symbol: int) -> Rows:
    for symbol in SYMBOLS:
        price = draw.uniform(100, 4000)
        for number in range(per_symbol):
            price *= 1 + draw.uniform(-0.002, 0.002)
            yield {
                "symbol": symbol,
                "exchange": "NSE",
                "timeframe": "1m",
                "ts": START + timedelta(minutes=number),
                "open": price,
                "high": price * 1.001,
                "low": price * 0.999,
                "close": price * 1.0005,
                "volume": float(draw.randint(0, 10**6)),
            }


def _events(draw: random.Random, count: int) -> Rows:
    for number in range(count):
        yield {
            "level": draw.choice(("INFO", "INFO", "WARNING")),
            "category": draw.choice(("alert", "order", "webhook")),
            # The column is declared for 255 characters; SQLite never minded.
            "message": "Long note: " + "y" * 400 if number % 400 == 0 else f"event {number}",
            "details": f'{{"n": {number}}}',
        }


def _positions(draw: random.Random) -> Rows:
    for symbol in ("NTPC", "COALINDIA", "HINDUNILVR"):
        yield {"symbol": symbol, "product": "CNC", "qty": draw.randint(1, 9), "avg_price": 100.1}
