"""The table of candles beside one that is partitioned by month: writing, reading, and letting a month go.

The rows are written into tables that are already full, as in a database that has lived for months. The trial's
database ends here: rows of `candles` are added and deleted.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, Final

import psycopg

from loadtests.judge.plans import outline

PLAIN, PARTED = "candles", "trial_by_month"
REPEATS: Final = 15
TURNS: Final = 5  # of writing, by both tables in turn; the middle one counts
SINGLE: Final = 2_000
BULK: Final = 100_000
Write = Callable[[psycopg.Connection[Any], str, int, int], float]
_COLUMNS: Final = "id, symbol, exchange, timeframe, ts, open, high, low, close, volume"
_SERIES: Final = "symbol = 'S7' AND exchange = 'NSE' AND timeframe = '5m'"
_READS: Final = {
    "a day of a series": f"SELECT * FROM {{t}} WHERE {_SERIES} AND ts >= now() - interval '30 days' AND ts < now() - interval '29 days' ORDER BY ts",
    "the newest 500 bars of a series": f"SELECT * FROM {{t}} WHERE {_SERIES} ORDER BY ts DESC LIMIT 500",
    "one row by its id": "SELECT * FROM {t} WHERE id = {id}",
}


def measure(connection: psycopg.Connection[Any]) -> list[dict[str, Any]]:
    """By what is done: both tables' figures, with their unit; reads have their plans."""
    _make(connection)
    largest = int(_one(connection, f"SELECT max(id) FROM {PLAIN}"))
    found = [
        _line(f"{BULK:,} rows written in one statement", "rows/s", *_in_turn(connection, _bulk, largest)),
        _line("rows written one by one", "rows/s", *_in_turn(connection, _singles, largest + TURNS * BULK)),
    ]
    for table in (PLAIN, PARTED):
        connection.execute(f"VACUUM ANALYZE {table}".encode())
    for name, query in _READS.items():
        read = [_read(connection, query.format(t=table, id=largest // 2)) for table in (PLAIN, PARTED)]
        plans = dict(zip(("plain_plan", "by_month_plan"), (one[2] for one in read), strict=True))
        found.append(_line(name, "ms", *(one[0] + one[1] for one in read)) | plans)
        found.append(_line(f"{name}: of that planning", "ms", *(one[0] for one in read)))
    first, last = connection.execute(
        f"SELECT min(ts), min(date_trunc('month', ts)) + interval '1 month' FROM {PLAIN}".encode()
    ).fetchone() or (None, None)
    gone = _timed(connection, f"DELETE FROM {PLAIN} WHERE ts < '{last}'")
    month = f"{PARTED}_{first:%Y_%m}"
    dropped = _timed(connection, f"DROP TABLE {month}")
    found.append(_line("the oldest month goes", "ms", gone * 1000, dropped * 1000))
    return found


def _make(connection: psycopg.Connection[Any]) -> None:
    """The same rows with the keys of `candles`; a partitioned table's have to hold the time."""
    connection.execute(
        f"CREATE TABLE {PARTED} (LIKE {PLAIN} INCLUDING DEFAULTS) PARTITION BY RANGE (ts)".encode()
    )
    months = connection.execute(
        "SELECT generate_series(date_trunc('month', min(ts)), date_trunc('month', max(ts)) + interval '1 month', "
        f"interval '1 month') FROM {PLAIN}".encode()
    ).fetchall()
    for (month,) in months:
        connection.execute(
            f"CREATE TABLE {PARTED}_{month:%Y_%m} PARTITION OF {PARTED} "
            f"FOR VALUES FROM ('{month}') TO ('{month}'::timestamp + interval '1 month')".encode()
        )
    connection.execute(f"INSERT INTO {PARTED} ({_COLUMNS}) SELECT {_COLUMNS} FROM {PLAIN}".encode())
    connection.execute(
        f"ALTER TABLE {PARTED} ADD PRIMARY KEY (id, ts), ADD UNIQUE (symbol, exchange, timeframe, ts)".encode()
    )
    connection.execute(f"VACUUM ANALYZE {PLAIN}, {PARTED}".encode())


def _in_turn(connection: psycopg.Connection[Any], write: Write, largest: int) -> tuple[float, float]:
    """Rows per second of both tables; the ids begin after `largest`."""
    rates: dict[str, list[float]] = {PLAIN: [], PARTED: []}
    for turn in range(TURNS):
        for table, found in rates.items():
            found.append(write(connection, table, largest, turn))
    return statistics.median(rates[PLAIN]), statistics.median(rates[PARTED])


def _bulk(connection: psycopg.Connection[Any], table: str, largest: int, turn: int) -> float:
    seconds = _timed(
        connection,
        f"INSERT INTO {table} ({_COLUMNS}) SELECT {largest} + i, 'B' || i % 20, 'NSE', '5m', "
        "(now() AT TIME ZONE 'UTC') - i * interval '1 second', 1, 1, 1, 1, 1 "
        f"FROM generate_series({turn * BULK + 1}, {(turn + 1) * BULK}) i",
    )
    return BULK / seconds


def _singles(connection: psycopg.Connection[Any], table: str, largest: int, turn: int) -> float:
    query = (f"INSERT INTO {table} ({_COLUMNS}) VALUES (%s, 'NEW', 'NSE', '5m', "
             "(now() AT TIME ZONE 'UTC') - %s * interval '1 second', 1, 1, 1, 1, 1)").encode()  # fmt: skip
    started = time.perf_counter()
    with connection.transaction(), connection.cursor() as cursor:
        for number in range(turn * SINGLE + 1, (turn + 1) * SINGLE + 1):
            cursor.execute(query, (largest + number, number), prepare=True)
    return SINGLE / (time.perf_counter() - started)


def _read(connection: psycopg.Connection[Any], query: str) -> tuple[float, float, str]:
    """Planning and execution in milliseconds, the middle of some repeats, and the plan."""
    times, told = [], dict[str, Any]()
    for _ in range(REPEATS):
        (told,) = _one(connection, f"EXPLAIN (ANALYZE, FORMAT JSON) {query}")
        times.append((told["Planning Time"], told["Execution Time"]))
    planning, execution = zip(*times, strict=True)
    return statistics.median(planning), statistics.median(execution), outline(told["Plan"])


def _timed(connection: psycopg.Connection[Any], statement: str) -> float:
    started = time.perf_counter()
    connection.execute(statement.encode())
    return time.perf_counter() - started


def _one(connection: psycopg.Connection[Any], query: str) -> Any:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def _line(what: str, unit: str, plain: float, parted: float) -> dict[str, Any]:
    return {"what": what, "unit": unit, "plain": round(plain, 3), "by_month": round(parted, 3)}
