"""ST_CUTOVER=auto: flipping ST_DATABASE_URL and restarting is the whole procedure.

At start, before the first request, the process whose ST_DATABASE_URL names the side that is not primary
performs the guarded switch. Several workers start at once: one attempt wins, the others find the primary
moved. Gates that are not met are listed, and the process follows the control row instead.
"""

from __future__ import annotations

import sqlite3
import threading
import time

import psycopg

from app.db.apply.round import Applier
from app.db.common.errors import Refused, SwitchError
from app.db.common.logs import logger
from app.db.common.settings import Cutover
from app.db.common.urls import Side
from app.db.session.runtime import Runtime
from app.db.sides.postgres import deferred
from app.db.switch import gates
from app.db.switch.coordinator import Coordinator, Moved
from app.db.switch.recover import recover

log = logger("sigma.db")
ATTEMPTS = 10


def switch_at_start(current: Runtime) -> bool:
    """Switch to the side that ST_DATABASE_URL names, if it is asked for and its gates are met.

    Returns:
        Whether that side is primary now.
    """
    if current.pair is None or current.settings.cutover is not Cutover.AUTO or not current.gate.prepared:
        return True
    if current.primary() is current.desired:
        return True
    applier = current.applier("st-autoswitch")
    try:
        return _switch(current, applier)
    except Refused as refused:
        for reason in refused.reasons or (str(refused),):
            log.warning("not switching to %s: %s", current.desired, reason)
    except (SwitchError, psycopg.Error, sqlite3.Error, OSError) as error:
        log.warning("not switching to %s: %s", current.desired, error)
    finally:
        applier.sqlite.close()
        applier.postgres.close()
    return current.primary() is current.desired


def _switch(current: Runtime, applier: Applier) -> bool:
    budget = current.settings.cutover_hold_ms
    for attempt in range(ATTEMPTS):
        recover(applier)
        if current.primary() is current.desired:
            return True
        if applier.postgres.read_control().attempt is not None:
            time.sleep(0.1)  # another worker is at it
            continue
        gates.require(gates.evaluate(applier, current.desired, max_pause_ms=budget))
        outcome = Coordinator(applier, max_pause_ms=budget, report=log.info).move(current.desired)
        if isinstance(outcome, Moved):
            log.warning("%s is primary at epoch %s", outcome.primary, outcome.epoch)
            if outcome.primary is Side.POSTGRES:
                threading.Thread(target=_validate, args=(current,), name="st-validate", daemon=True).start()
            return True
        log.warning("attempt %s to switch to %s ended: %s", attempt + 1, current.desired, outcome.reason)
        if not outcome.retryable:
            break
        time.sleep(0.1 * (attempt + 1))
    return current.primary() is current.desired


def _validate(current: Runtime) -> None:
    """Validate the new primary's foreign keys beside the first requests; `cutover` again does what is left."""
    applier = current.applier("st-validate")
    try:
        deferred.validate_foreign_keys(applier.postgres.connection)
    except (psycopg.Error, SwitchError) as error:
        log.warning("foreign keys are not all validated: %s", error)
    finally:
        applier.sqlite.close()
        applier.postgres.close()
