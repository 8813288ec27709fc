"""Connections that pass by the gate."""

import sqlite3

import psycopg
import sqlalchemy as sa
from sqlalchemy.orm import Session, sessionmaker

engine = sa.create_engine("sqlite://")  # expect: engine-outside-seam
factory = sessionmaker(bind=engine)  # expect: engine-outside-seam
raw = sqlite3.connect("file.db")  # expect: engine-outside-seam
server = psycopg.connect("dbname=x")  # expect: engine-outside-seam


def run(db: Session) -> None:
    with db.connection() as connection, engine.connect():
        connection.exec_driver_sql("SELECT 1")
