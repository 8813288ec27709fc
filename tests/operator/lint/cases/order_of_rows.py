"""Rows in another order on PostgreSQL: NULL among the sorted, and ties that a limit cuts."""

from __future__ import annotations

from typing import Annotated

from sqlalchemy import String, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

Id = Annotated[int, mapped_column(primary_key=True)]


class Base(DeclarativeBase):
    pass


class Stamped:
    seen_at: Mapped[str | None]


class Bar(Stamped, Base):
    __tablename__ = "bars"
    id: Mapped[Id]
    symbol: Mapped[str]
    code: Mapped[str] = mapped_column(unique=True)
    closed = mapped_column(String(10))
    opened = mapped_column(String(10), nullable=False)


def run(db: Session) -> None:
    db.scalars(select(Bar).order_by(Bar.seen_at.desc(), Bar.id))  # expect: nulls-order
    db.scalars(select(Bar).order_by(Bar.closed, Bar.id)).all()  # expect: nulls-order
    db.query(Bar).order_by(Bar.symbol, Bar.closed.asc(), Bar.id).first()  # expect: nulls-order
    db.query(Bar).order_by(Bar.seen_at.desc().nulls_last(), Bar.id.desc()).first()
    db.query(Bar).order_by(Bar.seen_at.is_(None), Bar.seen_at, Bar.id).first()
    db.query(Bar).order_by(Bar.symbol).first()  # expect: tie-break
    db.scalars(select(Bar).where(Bar.id > 1).order_by(Bar.opened.desc()).limit(5))  # expect: tie-break
    db.query(Bar).order_by(Bar.symbol).limit(2).offset(1).all()  # expect: tie-break
    db.query(Bar).order_by(Bar.symbol, Bar.code).first()
    db.query(Bar).order_by(Bar.symbol).all()
    db.query(Bar).filter(Bar.id == 1).first()
