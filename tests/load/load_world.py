"""Two small databases that the oracle compares, and entries of a ledger that fit them."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from loadtests.judge.oracle import ENDING
from loadtests.judge.sides import SqliteSide
from loadtests.traffic.ledger import Attempt, Delivery, Outcome
from loadtests.traffic.signals import Signals

RUN = "t1"
DDL = """
CREATE TABLE alerts (id INTEGER PRIMARY KEY, symbol, exchange, action, qty, price, reason, source, interval, raw_payload);
CREATE TABLE orders (id INTEGER PRIMARY KEY, alert_id, client_order_id, symbol, exchange, side, qty, price, order_type,
  product, status, mode, error_message);
CREATE TABLE system_events (id INTEGER PRIMARY KEY, message, details);
CREATE TABLE candles (id INTEGER PRIMARY KEY, symbol, ts, close);
"""


class World:
    """Deliveries that both sides hold as they should; tests then damage a side or an entry."""

    def __init__(self, folder: Path) -> None:
        self.paths = [folder / "left.db", folder / "right.db"]
        self.databases = [sqlite3.connect(path, isolation_level=None) for path in self.paths]
        for database in self.databases:
            database.executescript(DDL)
        self.signals = Signals(RUN, ["a", "b"], seed=7)
        self.sides = [SqliteSide(path) for path in self.paths]

    def close(self) -> None:
        """Close every connection."""
        for side in self.sides:
            side.close()
        for database in self.databases:
            database.close()

    def deliver(self, outcome: Outcome = Outcome.ACKNOWLEDGED, *, stored: bool = True) -> Delivery:
        """One delivery of a shape that is stored, on both sides if `stored`."""
        signal, shape = next((s, shape) for s, shape in self.signals if shape.stored)
        number = int(signal.marker.split("-")[1])
        expected = shape.expected(signal)
        assert expected is not None
        if stored:
            for database in self.databases:
                insert(
                    database,
                    "alerts",
                    {"id": number, "raw_payload": raw(signal.marker)} | expected["alert"],
                )
                insert(database, "orders", {"id": number + 1000, "alert_id": number} | expected["order"])
                details = json.dumps({"order_id": number + 1000})
                insert(database, "system_events", {"message": ENDING, "details": details})
        ids = (number, number + 1000) if outcome is Outcome.ACKNOWLEDGED else (None, None)
        return Delivery(
            signal.marker, shape.name, outcome, (Attempt(1.0, 5.0, 201),), 5.0, *ids, expected=expected
        )


def raw(marker: str) -> str:
    return json.dumps({"secret": "***", "order_id": marker}, separators=(",", ":"))


def insert(database: sqlite3.Connection, table: str, row: dict[str, Any]) -> None:
    marks = ", ".join("?" * len(row))
    database.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))
