"""What `complete` and `abort` would destroy, in the operator's words. Reads only."""

from __future__ import annotations

from app.db.common.urls import Side
from app.db.sides.phase import Phase
from app.db.sides.stores import Stores
from app.db.switch.state.readiness import quarantined
from migration.common.plain import counted
from migration.switch import teardown
from migration.switch.holdings import holdings


def asks(stores: Stores) -> bool:
    """Whether there is a move that can be ended and that no earlier call has begun to end.

    What `teardown.end` refuses is not asked for: that answer says more.
    """
    ours, theirs = teardown.controls(stores)
    if theirs is None or theirs.phase == Phase.COMPLETING:
        return False
    if ours is None:
        return theirs.phase == Phase.PREPARING
    return ours.pair == theirs.pair


def goes(stores: Stores, verb: str) -> list[str]:
    """What goes for good when the move is ended by this verb."""
    ours, theirs = teardown.controls(stores)
    if theirs is None:
        return []
    ahead = ours is not None and ours.epoch > theirs.epoch
    epoch = ours.epoch if ours is not None and ahead else theirs.epoch
    found = holdings(stores.postgres.connection)
    lines = []
    if verb == "abort" and epoch == 1:
        lines += [f"the copy in the database {found.database} is dropped", *found.lines()]
    else:
        primary = Side.SQLITE if ahead else theirs.primary
        lines.append(f"{primary} stays alone, {primary.other} keeps its rows and takes no writes any more")
        lines += found.lines()[-1:]
    if theirs.phase != Phase.PREPARING and (rows := quarantined(stores.postgres.connection).rows):
        lines.append(
            f"{counted(rows, 'row stands', 'rows stand')} in quarantine, the content is kept nowhere else on PostgreSQL"
        )
    return lines
