"""Virtual tables of the SQLite file, and the ordinary tables in which each keeps its own data.

A full text index named `docs` stands in `docs_data`, `docs_idx` and so on. Those are no tables of the
application: nobody but the module writes there, and they go where their virtual table goes.
"""

from __future__ import annotations

import re
import sqlite3

# What FTS3, FTS4, FTS5, R*Tree and Geopoly append to the name.
_SUFFIXES = (
    "config",
    "content",
    "data",
    "docsize",
    "idx",
    "segments",
    "segdir",
    "stat",
    "node",
    "parent",
    "rowid",
)
_VIRTUAL = re.compile(r"\s*CREATE\s+VIRTUAL\s", re.IGNORECASE)


def virtual_tables(connection: sqlite3.Connection) -> dict[str, tuple[str, ...]]:
    """Each virtual table, with the names of the tables that are a part of it."""
    tables = dict(
        connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY name")
    )
    return {
        name: tuple(part for suffix in _SUFFIXES if (part := f"{name}_{suffix}") in tables)
        for name, sql in tables.items()
        if _VIRTUAL.match(sql or "")
    }
