"""What PostgreSQL really planned for every statement of the backend, and which indexes nothing needs.

auto_explain writes the plan of each statement of every new session into the server's log, deliveries, pages and
background loops alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from statistics import median
from typing import Any, Final

import psycopg
from sqlalchemy import create_engine

from loadtests.judge.plans import outline, partial_indexes, tables_of, walks

_SETTINGS: Final = (
    "session_preload_libraries = 'auto_explain'",
    "auto_explain.log_min_duration = 0",
    "auto_explain.log_format = 'json'",
)
_PLAN: Final = re.compile(r"duration: ([\d.]+) ms  plan:\n((?:\t.*\n)+)")
_LIST: Final = re.compile(r"SELECT .*? FROM ")
_SAME: Final = """
SELECT a.indexrelid::regclass::text, b.indexrelid::regclass::text FROM pg_index a JOIN pg_index b
  ON a.indrelid = b.indrelid AND a.indexrelid <> b.indexrelid
WHERE a.indrelid::regclass::text = ANY(%s) AND NOT a.indisunique
  AND a.indexprs IS NULL AND b.indexprs IS NULL AND a.indpred IS NULL AND b.indpred IS NULL
  AND (b.indkey::int2[])[0:a.indnkeyatts - 1] = (a.indkey::int2[])[0:a.indnkeyatts - 1]
  AND (b.indnkeyatts > a.indnkeyatts OR b.indisunique OR a.indexrelid > b.indexrelid)
ORDER BY 1, 2
"""
_UNUSED: Final = """
SELECT indexrelid::regclass::text, pg_relation_size(indexrelid) FROM pg_stat_user_indexes JOIN pg_index USING (indexrelid)
WHERE relname = ANY(%s) AND idx_scan = 0 AND NOT indisunique ORDER BY 1
"""


def explain_from_now_on(connection: psycopg.Connection[Any], database: str) -> None:
    """Sessions that begin after this have their plans logged."""
    for setting in _SETTINGS:
        connection.execute(f"ALTER DATABASE {database} SET {setting}".encode())


def plans(log: Path, url: str, large: Collection[str]) -> dict[str, Any]:
    """How many statements were planned, by kind; each one of a large table with its plan, its middle and its longest time.

    `walks`: those that go through a large table as a whole.
    """
    engine = create_engine(url)
    with engine.connect() as connection:
        partial = partial_indexes(connection)
    engine.dispose()
    kinds: dict[str, list[str]] = {}
    plan: dict[str, dict[str, Any]] = {}
    times: dict[str, list[float]] = {}
    for ms, block in _PLAN.findall(log.read_text(encoding="utf-8", errors="replace")):
        told = json.loads(block)
        text = " ".join(str(told.get("Query Text", "")).split())
        kinds[text] = sorted({*kinds.get(text, ()), *walks(told["Plan"], large, partial)})
        if not tables_of(told["Plan"]).isdisjoint(large):
            plan[text] = told["Plan"]
            times.setdefault(text, []).append(float(ms))
    return {
        "statements": len(kinds),
        "walks": [{"statement": text[:300], "walks": found} for text, found in kinds.items() if found],
        "hot": [
            {
                "statement": _LIST.sub("SELECT ... FROM ", text, count=1)[:300],
                "plan": outline(plan[text]),
                "calls": len(found),
                "ms": round(median(found), 3),
                "longest_ms": round(max(found), 1),
            }
            for text, found in sorted(times.items(), key=lambda item: (-len(item[1]), item[0]))
        ],
    }


def indexes(connection: psycopg.Connection[Any], large: Collection[str]) -> dict[str, Any]:
    """Indexes of large tables that repeat the beginning of another one, and those that the trial did not use."""
    tables = list(large)
    return {
        "repeats": [list(row) for row in connection.execute(_SAME, (tables,))],
        "unused": [
            {"index": name, "mb": round(size / 1e6, 1)}
            for name, size in connection.execute(_UNUSED, (tables,))
        ],
    }
