"""Equality with a fraction."""

from sqlalchemy import column, select, text
from sqlalchemy.orm import Session


def run(db: Session) -> None:
    db.execute(text("SELECT * FROM t WHERE price = 10.05"))  # expect: float-equality
    db.execute(select(column("price")).where(column("price") == 0.1))  # expect: float-equality
    db.execute(select(column("price")).where(column("price") == 5.0, column("price") > 0.1))
    db.execute(text("UPDATE t SET price = 10.05 WHERE price = 10.0"))
