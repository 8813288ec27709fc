"""Functions that only SQLite has."""

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

STATEMENT = "SELECT ifnull(a, 0) FROM t"  # expect: sqlite-function


def run(db: Session) -> None:
    db.execute(text("SELECT strftime('%Y', at) FROM t"))  # expect: sqlite-function
    db.execute(text("SELECT julianday('now')"))  # expect: sqlite-function
    db.execute(text("SELECT * FROM t WHERE at < datetime('now', '-1 day')"))  # expect: sqlite-function
    db.execute(text("SELECT group_concat(name) FROM t"))  # expect: sqlite-function
    db.execute(text("SELECT printf('%d', 1) FROM t"))  # expect: sqlite-function
    db.execute(text("SELECT instr(a, 'x') FROM t"))  # expect: sqlite-function
    db.execute(text("SELECT hex(randomblob(16))"))  # expect: sqlite-function, sqlite-function
    db.execute(text("SELECT last_insert_rowid()"))  # expect: sqlite-function
    db.execute(text("SELECT json_extract(a, '$.b') FROM t"))  # expect: sqlite-function
    db.execute(text("SELECT typeof(a) FROM t"))  # expect: sqlite-function
    db.execute(text("SELECT max(a, b) FROM t"))  # expect: sqlite-function
    db.execute(text("SELECT date(at, '+1 day') FROM t"))  # expect: sqlite-function
    db.execute(text(STATEMENT))
    db.execute(select(func.strftime("%Y", "now")))  # expect: sqlite-function
    db.execute(select(func.ifnull(1, 2)))  # expect: sqlite-function
    db.execute(select(func.coalesce(1, 2), func.max(1), func.count()))
    db.execute(text("SELECT coalesce(max(a), 0), max(a), 'strftime(a)' FROM t"))
    db.execute(text("SELECT datetime, a.typeof FROM a"))
