"""LIKE folds case on SQLite only."""

from sqlalchemy import column, select, text
from sqlalchemy.orm import Session


def run(db: Session) -> None:
    db.execute(text("SELECT * FROM t WHERE a LIKE 'x%'"))  # expect: like-case
    db.execute(text("SELECT * FROM t WHERE a NOT LIKE :x"))  # expect: like-case
    db.execute(select(column("a")).where(column("a").like("x%")))  # expect: like-case
    db.execute(select(column("a")).where(column("a").ilike("x%")))
    db.execute(text("SELECT * FROM t WHERE lower(a) LIKE 'x%' OR upper(coalesce(b, '')) NOT LIKE 'X%'"))
