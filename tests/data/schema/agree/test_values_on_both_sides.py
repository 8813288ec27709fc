"""Values that the databases' drivers treat differently are stored alike, once columns are adapted."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db.revisions.ddl import install_portable_defaults
from app.models import Alert, Group, GroupMember, Order
from tests.data.schema.conftest import HEAD, Start

INDIA = timezone(timedelta(hours=5, minutes=30))


@pytest.fixture
def table() -> sa.Table:
    install_portable_defaults()
    return sa.Table(
        "values_to_store",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("count", sa.Integer),
        sa.Column("small", sa.SmallInteger),
        sa.Column("ratio", sa.Float),
        sa.Column("at", sa.DateTime),
        sa.Column("zoned", sa.DateTime(timezone=True)),
    )


@pytest.mark.parametrize(
    ("column", "value", "stored"),
    [
        ("count", 70_476_944_225, 70_476_944_225),
        ("small", 2**40, 2**40),
        ("ratio", math.nan, None),
        ("ratio", math.inf, math.inf),
        ("ratio", 0.1, 0.1),
        ("at", datetime(2026, 1, 5, 9, 20, tzinfo=INDIA), datetime(2026, 1, 5, 9, 20)),
        ("at", datetime(2026, 1, 5, 9, 20, 0, 1), datetime(2026, 1, 5, 9, 20, 0, 1)),
        ("zoned", datetime(2026, 1, 5, 9, 20, tzinfo=UTC), datetime(2026, 1, 5, 9, 20)),
    ],
)
def test_value_is_stored_alike(url: str, table: sa.Table, column: str, value: Any, stored: Any) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    table.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(table.insert().values({column: value}))
        assert connection.execute(sa.select(table.c[column])).scalar_one() == stored
        found = sa.select(sa.func.count()).where(table.c[column] == value)
        assert connection.execute(found).scalar_one() == (stored is not None)


def test_models_store_what_exceeds_their_declaration(start: Start) -> None:
    engine = sa.create_engine(start(HEAD), poolclass=sa.NullPool)
    with Session(engine) as session:
        member = GroupMember(symbol="S" * 189, reference_qty=70_476_944_225)
        session.add(Group(name="basket", members=[member]))
        session.add(
            Alert(
                symbol="INFY",
                action="BUY_QUANTITY",
                raw_payload="{}",
                bar_time=datetime(2026, 1, 5, 9, 20, tzinfo=INDIA),
            )
        )
        session.commit()
        session.expire_all()
        assert member.reference_qty == 70_476_944_225
        assert session.scalars(sa.select(Alert)).one().bar_time == datetime(2026, 1, 5, 9, 20)


@pytest.mark.parametrize(
    ("alert", "alert_id", "origin"),
    [
        (None, None, "MANUAL"),
        (None, 7, "ALERT"),
        (Alert(source="screener", platform="x"), 7, "SCREENER"),
        (Alert(source="", platform="tradingview"), 7, "TRADINGVIEW"),
        (Alert(source="", platform=""), 7, "ALERT"),
    ],
)
def test_origin_of_an_order(alert: Alert | None, alert_id: int | None, origin: str) -> None:
    assert Order(alert=alert, alert_id=alert_id).origin == origin
