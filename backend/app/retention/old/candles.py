"""How far the candles of one series may go: rules count days, indicators count bars.

A series is one symbol at one exchange in one time frame. Of each the newest `BARS_KEPT` bars stay, whatever
their age. A deployment that is not at rest may stand still at an older bar; then that bar stays with all that
follow it and with as many before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, NamedTuple

from sqlalchemy import ColumnElement, or_, select, tuple_
from sqlalchemy.orm import Session

from app.core.time_utils import to_ist_naive
from app.models import Candle, StrategyDeployment, StrategyDeploymentBarCursor, StrategyDeploymentState
from app.retention.old.needs import DEPLOYMENT_AT_REST

BARS_KEPT: Final = 500


class Series(NamedTuple):
    """What names a series."""

    symbol: str
    exchange: str
    timeframe: str


def every_series(db: Session, timeframe: str) -> Iterator[Series]:
    """The series of a time frame, found from one to the next along the unique key instead of in all candles."""
    columns = (Candle.symbol, Candle.exchange, Candle.timeframe)
    query = select(*columns).order_by(*columns).limit(1)
    row = db.execute(query).first()
    while row is not None:
        found = Series(*row)
        if found.timeframe == timeframe:
            yield found
        row = db.execute(query.where(tuple_(*columns) > tuple_(*found))).first()


def floor(db: Session, series: Series, cutoff: datetime) -> datetime | None:
    """The time before which bars of the series may go; None when all of them stay.

    Args:
        cutoff: what the rule says, in the exchange's wall time.
    """
    of_series = _of(series)
    # st-lint: allow tie-break - a series has one bar at a time
    query = select(Candle.ts).where(*of_series).order_by(Candle.ts.desc()).offset(BARS_KEPT - 1).limit(1)
    reached = _deployments_reached(db, series)
    if reached is not None:
        query = query.where(Candle.ts <= reached)
    oldest_kept = db.scalar(query)
    return None if oldest_kept is None else min(cutoff, oldest_kept)


def _of(series: Series) -> tuple[ColumnElement[bool], ...]:
    return (
        Candle.symbol == series.symbol,
        Candle.exchange == series.exchange,
        Candle.timeframe == series.timeframe,
    )


def _deployments_reached(db: Session, series: Series) -> datetime | None:
    """The oldest bar at which a deployment on the series stands, in the exchange's wall time."""
    cursor, state, deployment = (
        StrategyDeploymentBarCursor,
        StrategyDeploymentState,
        StrategyDeployment,
    )
    active = or_(deployment.enabled.is_(True), state.status != DEPLOYMENT_AT_REST)
    cursors = (
        select(cursor.last_emitted_bar_end_ts)
        .join(deployment, deployment.id == cursor.deployment_id)
        .outerjoin(state, state.deployment_id == deployment.id)
        .where(
            cursor.exchange == series.exchange,
            cursor.symbol == series.symbol,
            cursor.timeframe == series.timeframe,
            active,
        )
    )
    states = (
        select(state.last_eval_bar_end_ts)
        .join(deployment, deployment.id == state.deployment_id)
        .where(
            deployment.exchange == series.exchange,
            deployment.symbol == series.symbol,
            deployment.timeframe == series.timeframe,
            active,
        )
    )
    stands = [at for query in (cursors, states) for at in db.scalars(query) if at is not None]
    return to_ist_naive(min(at if at.tzinfo else at.replace(tzinfo=UTC) for at in stands)) if stands else None
