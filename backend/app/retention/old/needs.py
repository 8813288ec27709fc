"""What stays although it is old: one SQL condition for each reason.

Lists of states name those that are over. A state that this release does not know counts as open.

- alert: one of its orders is open, or has changed since the rule's time (a position shows later than the order that
  opened it has ended); an order of it opened or closes a managed position; its symbol is held at the broker of an order
  that got there; its deployment is not at rest.
- firing of an alert definition: it is the newest one, by which a condition that fires once is known.
- job of an order: it is not done. A dead letter can be repeated by a person.
- any table: the row with the highest id stays, because SQLite would give that id to the next row.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, exists, func, or_, select
from sqlalchemy.orm import aliased

from app.models import (
    Alert,
    AlertEvent,
    ManagedRiskPosition,
    Order,
    OrderJob,
    Position,
    StrategyDeployment,
    StrategyDeploymentState,
)
from app.retention.old.rules import Rule
from app.services.shared.jobs.queue import DEAD, DONE

NEVER_WENT: Final = ("FAILED", "CANCELLED", "REJECTED", "REJECTED_RISK")
OVER: Final = ("EXECUTED", *NEVER_WENT)
POSITION_OVER: Final = ("EXITED",)
DEPLOYMENT_AT_REST: Final = "STOPPED"
NEWEST: Final = "newest row"

Condition = ColumnElement[bool]


def needs(rule: Rule, cutoff: datetime) -> Mapping[str, Condition]:
    """Why rows of the rule's table stay, by reason.

    Args:
        cutoff: the time before which rows are old, in the form of the rule's column.
    """
    found = {**_OF_TABLES.get(rule.table.name, {}), NEWEST: _is_newest(rule)}
    if rule.table is Alert.__table__:
        found["young order"] = _order_of_alert(Order.updated_at >= cutoff)
    return found


def unneeded(rule: Rule, cutoff: datetime) -> Condition:
    """True for a row that nothing needs."""
    return ~or_(*needs(rule, cutoff).values())


def _is_newest(rule: Rule) -> Condition:
    table = rule.table.alias("every_row")
    newest = select(func.max(table.c.id)).scalar_subquery()
    condition: Condition = rule.table.c.id >= newest
    return condition


def _order_of_alert(*conditions: Any) -> Condition:
    return exists().where(Order.alert_id == Alert.id, *conditions)


_managed = exists().where(
    or_(ManagedRiskPosition.entry_order_id == Order.id, ManagedRiskPosition.exit_order_id == Order.id),
    ManagedRiskPosition.status.not_in(POSITION_OVER),
)
_full_name = Position.exchange + ":" + Position.symbol
_held = exists().where(
    Position.broker_name == Order.broker_name,
    Position.qty != 0,
    func.upper(Order.symbol).in_((func.upper(Position.symbol), func.upper(_full_name))),
)
_deployed = exists().where(
    StrategyDeployment.id == Order.deployment_id,
    or_(
        StrategyDeployment.enabled.is_(True),
        exists().where(
            StrategyDeploymentState.deployment_id == StrategyDeployment.id,
            StrategyDeploymentState.status != DEPLOYMENT_AT_REST,
        ),
    ),
)
_other = aliased(AlertEvent)
# Asked for each row along the index: written with NOT EXISTS, PostgreSQL reads all firings for each batch.
_newest_firing: Condition = (
    AlertEvent.id
    == select(_other.id)
    .where(_other.alert_definition_id == AlertEvent.alert_definition_id)
    .order_by(_other.triggered_at.desc(), _other.id.desc())
    .limit(1)
    .scalar_subquery()
)
_OF_TABLES: Final[Mapping[str, Mapping[str, Condition]]] = {
    "alerts": {
        "open order": _order_of_alert(Order.status.not_in(OVER)),
        "managed position": _order_of_alert(_managed),
        "held position": _order_of_alert(Order.status.not_in(NEVER_WENT), _held),
        "deployment": _order_of_alert(_deployed),
    },
    "alert_events": {"newest firing": _newest_firing},
    "order_jobs": {
        "open job": OrderJob.status.not_in((DONE, DEAD)),
        "dead letter": OrderJob.status == DEAD,
    },
}
