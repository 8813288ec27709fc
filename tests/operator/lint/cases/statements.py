"""Statements that only SQLite has."""

from sqlalchemy import text
from sqlalchemy.orm import Session


def run(db: Session, table: str) -> None:
    db.execute(text("INSERT OR REPLACE INTO t (a) VALUES (1)"))  # expect: insert-or
    db.execute(text("INSERT OR IGNORE INTO t (a) VALUES (1)"))  # expect: insert-or
    db.execute(text("REPLACE INTO t (a) VALUES (1)"))  # expect: insert-or
    db.execute(text("UPDATE OR IGNORE t SET a = 1"))  # expect: insert-or
    db.execute(text("PRAGMA foreign_keys = ON"))  # expect: pragma
    db.connection().exec_driver_sql(f"PRAGMA table_info({table})")  # expect: pragma
    db.execute(text("CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT)"))  # expect: autoincrement
    db.execute(text("SELECT * FROM t WHERE a GLOB 'x*'"))  # expect: glob
    db.execute(text("SELECT rowid, a FROM t"))  # expect: rowid
    db.execute(text("DELETE FROM t WHERE _rowid_ = 1"))  # expect: rowid
    db.execute(text("SELECT replace(a, 'x', 'y') FROM t WHERE b = 1 OR c = 2"))
    db.execute(text("INSERT INTO t (a) VALUES (1) ON CONFLICT DO NOTHING"))
