"""The table of candles beside one that is partitioned by month: writing, reading, and letting a month go."""

from __future__ import annotations

import statistics
import time
from typing import Any, Final

import psycopg

PLAIN, PARTED = "trial_plain", "trial_by_month"
REPEATS: Final = 15
SINGLE: Final = 3_000
_COLUMNS: Final = "id, symbol, exchange, timeframe, ts, open, high, low, close, volume"
_SERIES: Final = "symbol = 'S7' AND exchange = 'NSE' AND timeframe = '5m'"
_READS: Final = {
    "a day of a series": f"SELECT * FROM {{t}} WHERE {_SERIES} AND ts >= now() - interval '30 days' AND ts < now() - interval '29 days' ORDER BY ts",
    "the newest 500 bars of a series": f"SELECT * FROM {{t}} WHERE {_SERIES} ORDER BY ts DESC LIMIT 500",
    "one row by its id": "SELECT * FROM {t} WHERE id = {id}",
}


def measure(connection: psycopg.Connection[Any]) -> list[dict[str, Any]]:
    """By what is done: both tables' figures, with their unit."""
    _make(connection)
    rows = int(_one(connection, "SELECT count(*) FROM candles"))
    found = []
    bulk = [
        _timed(connection, f"INSERT INTO {table} SELECT {_COLUMNS} FROM candles") for table in (PLAIN, PARTED)
    ]
    found.append(_line("rows written in one statement", "rows/s", *(rows / seconds for seconds in bulk)))
    connection.execute(f"ANALYZE {PLAIN}, {PARTED}".encode())
    single = [_singles(connection, table) for table in (PLAIN, PARTED)]
    found.append(_line("rows written one by one", "rows/s", *single))
    middle = int(_one(connection, "SELECT max(id) / 2 FROM candles"))
    for name, query in _READS.items():
        read = [_read(connection, query.format(t=table, id=middle)) for table in (PLAIN, PARTED)]
        found.append(_line(name, "ms", *(sum(times) for times in read)))
        found.append(_line(f"{name}: of that planning", "ms", *(times[0] for times in read)))
    first, last = connection.execute(
        f"SELECT min(ts), min(date_trunc('month', ts)) + interval '1 month' FROM {PLAIN}".encode()
    ).fetchone() or (None, None)
    gone = _timed(connection, f"DELETE FROM {PLAIN} WHERE ts < '{last}'")
    month = f"{PARTED}_{first:%Y_%m}"
    detached = _timed(connection, f"DROP TABLE {month}")
    found.append(_line("the oldest month goes", "ms", gone * 1000, detached * 1000))
    for table in (PLAIN, PARTED):
        connection.execute(f"DROP TABLE {table}".encode())
    return found


def _make(connection: psycopg.Connection[Any]) -> None:
    """Both with the keys of `candles`; a partitioned table's have to hold the time."""
    connection.execute(f"CREATE TABLE {PLAIN} (LIKE candles INCLUDING DEFAULTS, PRIMARY KEY (id), "
                       "UNIQUE (symbol, exchange, timeframe, ts))".encode())  # fmt: skip
    connection.execute(f"CREATE TABLE {PARTED} (LIKE candles INCLUDING DEFAULTS, PRIMARY KEY (id, ts), "
                       "UNIQUE (symbol, exchange, timeframe, ts)) PARTITION BY RANGE (ts)".encode())  # fmt: skip
    months = connection.execute(
        "SELECT generate_series(date_trunc('month', min(ts)), date_trunc('month', max(ts)) + interval '1 month', "
        "interval '1 month') FROM candles"
    ).fetchall()
    for (month,) in months:
        connection.execute(
            f"CREATE TABLE {PARTED}_{month:%Y_%m} PARTITION OF {PARTED} "
            f"FOR VALUES FROM ('{month}') TO ('{month}'::timestamp + interval '1 month')".encode()
        )


def _singles(connection: psycopg.Connection[Any], table: str) -> float:
    query = (f"INSERT INTO {table} ({_COLUMNS}) VALUES (%s + (SELECT max(id) FROM candles), 'NEW', 'NSE', '5m', "
             "(now() AT TIME ZONE 'UTC') - %s * interval '1 second', 1, 1, 1, 1, 1)").encode()  # fmt: skip
    started = time.perf_counter()
    with connection.transaction(), connection.cursor() as cursor:
        for number in range(1, SINGLE + 1):
            cursor.execute(query, (number, number), prepare=True)
    return SINGLE / (time.perf_counter() - started)


def _read(connection: psycopg.Connection[Any], query: str) -> tuple[float, float]:
    """Planning and execution in milliseconds, the middle of some repeats."""
    times = []
    for _ in range(REPEATS):
        (told,) = _one(connection, f"EXPLAIN (ANALYZE, FORMAT JSON) {query}")
        times.append((told["Planning Time"], told["Execution Time"]))
    planning, execution = zip(*times, strict=True)
    return statistics.median(planning), statistics.median(execution)


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
