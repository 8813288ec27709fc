"""Puts a job into the queue for every bar that a deployment's instrument has closed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.config_files import load_holidays
from app.core.config import Settings
from app.core.time_utils import ist_naive_to_utc, to_ist_naive, utc_now
from app.models import StrategyDeployment, StrategyDeploymentJob
from app.services.deployments.jobs import enqueue_job

__all__ = [
    "EnqueueResult",
    "enqueue_due_jobs_once",
    "ist_naive_to_utc",
    "latest_closed_bar_end_ist",
    "now_ist_naive",
]

_MINUTES: Final = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60}
_OPEN: Final = timedelta(hours=9, minutes=15)
_CLOSE: Final = timedelta(hours=15, minutes=30)
_SATURDAY: Final = 5


@dataclass
class EnqueueResult:
    """Jobs that were added, and jobs that were there already."""

    jobs_created: int = 0
    jobs_deduped: int = 0


def now_ist_naive(now_utc: datetime | None = None) -> datetime:
    """IST wall time of now, or of the given UTC time (naive or aware)."""
    now_utc = now_utc or utc_now()
    return to_ist_naive(now_utc if now_utc.tzinfo else now_utc.replace(tzinfo=UTC))


def latest_closed_bar_end_ist(
    *, now_ist: datetime, timeframe: str, tolerance_seconds: float = 5
) -> datetime | None:
    """End of the last intraday bar that closed at least `tolerance_seconds` ago; None for other frames."""
    minutes = _MINUTES.get(timeframe)
    if minutes is None:
        return None
    settled = now_ist - timedelta(seconds=tolerance_seconds)
    midnight = settled.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + (settled - midnight) // timedelta(minutes=minutes) * timedelta(minutes=minutes)


def enqueue_due_jobs_once(
    db: Session,
    settings: Settings,
    *,
    now_utc: datetime | None = None,
    tolerance_seconds: float = 5,
    max_backfill: int = 100,
    prefetch_candles: bool = True,
) -> EnqueueResult:
    """Enqueue the closed bars of enabled intraday deployments of one symbol; the caller commits.

    Bars missed since the deployment's last job of the day are made up for, `max_backfill` at most.
    `prefetch_candles` has nothing to fetch from here and is accepted for compatibility.
    """
    result = EnqueueResult()
    now_ist = now_ist_naive(now_utc)
    query = select(StrategyDeployment).where(
        StrategyDeployment.enabled.is_(True), StrategyDeployment.target_kind == "SYMBOL"
    )
    for deployment in db.scalars(query.order_by(StrategyDeployment.id)).all():
        latest = latest_closed_bar_end_ist(
            now_ist=now_ist, timeframe=deployment.timeframe, tolerance_seconds=tolerance_seconds
        )
        if latest is None:
            continue
        for bar_end in list(_due_bars(db, deployment, latest))[-max_backfill:]:
            if _enqueue_bar(db, deployment, bar_end):
                result.jobs_created += 1
            else:
                result.jobs_deduped += 1
    return result


def _is_session_bar(bar_end: datetime) -> bool:
    if bar_end.weekday() >= _SATURDAY or bar_end.date().isoformat() in load_holidays():
        return False
    since_midnight = bar_end - bar_end.replace(hour=0, minute=0)
    return _OPEN < since_midnight <= _CLOSE


def _due_bars(db: Session, deployment: StrategyDeployment, latest: datetime) -> Iterator[datetime]:
    """Bar ends of today after the last enqueued one up to the latest; only the latest for a new one."""
    minutes = _MINUTES[deployment.timeframe]
    job = StrategyDeploymentJob
    last_utc = db.scalar(
        select(func.max(job.scheduled_for)).where(
            job.deployment_id == deployment.id, job.kind == "BAR_CLOSED"
        )
    )
    bar_end = latest
    if last_utc is not None:
        last = to_ist_naive(last_utc)
        midnight = latest.replace(hour=0, minute=0)
        bar_end = latest if last >= latest else max(last, midnight) + timedelta(minutes=minutes)
    while bar_end <= latest:
        if _is_session_bar(bar_end):
            yield bar_end
        bar_end += timedelta(minutes=minutes)


def _enqueue_bar(db: Session, deployment: StrategyDeployment, bar_end: datetime) -> bool:
    end_utc = ist_naive_to_utc(bar_end)
    parts = (
        "DEP", deployment.id, "BAR_CLOSED", deployment.timeframe, deployment.exchange, deployment.symbol,
        end_utc.isoformat(),
    )  # fmt: skip
    payload = {
        "kind": "BAR_CLOSED",
        "deployment_id": deployment.id,
        "timeframe": deployment.timeframe,
        "exchange": deployment.exchange,
        "symbol": deployment.symbol,
        "bar_end_ist": bar_end.isoformat(),
        "bar_end_utc": end_utc.isoformat(),
    }
    job = enqueue_job(
        db,
        deployment_id=deployment.id,
        owner_id=deployment.owner_id,
        kind="BAR_CLOSED",
        dedupe_key=":".join(str(part) for part in parts),
        scheduled_for=end_utc,
        payload=payload,
    )
    return job is not None
