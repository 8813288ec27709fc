"""Constructs that compile for SQLite only."""

from sqlalchemy import Column, Index, MetaData, Table, Text
from sqlalchemy.dialects import sqlite  # expect: sqlite-dialect
from sqlalchemy.dialects.sqlite import insert  # expect: sqlite-dialect

table = Table("t", MetaData(), Column("a", Text), sqlite_autoincrement=True)  # expect: sqlite-dialect
Index("ix", table.c.a, sqlite_where=table.c.a.is_not(None))  # expect: sqlite-dialect
Index(
    "iy", table.c.a, postgresql_where=table.c.a.is_(None), sqlite_where=table.c.a.is_(None)
)  # the same on both
other = table.c.a.is_not(None)
Index("iz", table.c.a, postgresql_where=table.c.a.is_(None), sqlite_where=other)  # expect: sqlite-dialect
statement = insert(table).on_conflict_do_nothing()
dialect = sqlite.dialect()
