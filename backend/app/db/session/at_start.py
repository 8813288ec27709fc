"""ST_CUTOVER=auto: flipping ST_DATABASE_URL and restarting is the whole procedure.

At start, before the first request, the process whose ST_DATABASE_URL names the side that is not primary
performs the guarded switch. Several workers start at once: one of them switches, the others wait for it and
say so in one line. Gates that are not met are listed, and the process follows the control row instead.

`session.application.http.install` does this with the application's start. Where that line is missing, the first session
of the process does it. Within a request it does not wait for the switch, which holds it like any other.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import suppress

import psycopg

from app.db.apply.round import Applier
from app.db.common.deadline import in_request
from app.db.common.errors import Refused, SwitchError
from app.db.common.logs import logger
from app.db.common.settings import Cutover
from app.db.common.urls import Side
from app.db.session.runtime import Runtime
from app.db.sides.phase import record
from app.db.sides.postgres import deferred
from app.db.sides.stores import Stores
from app.db.switch.coordinator import Aborted
from app.db.switch.guarded import Already, Told, switch
from app.db.switch.moments import Moments

log = logger("sigma.db")
ATTEMPTS = 10
_ANY_TABLE = "SELECT 1 FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace LIMIT 1"


def begin(current: Runtime) -> None:
    """Switch if that is asked for, then start what runs in the background; once for each runtime."""
    if current.begun.acquire(blocking=False):
        make_first_file(current)
        switch_at_start(current)
        current.start()


def make_first_file(current: Runtime) -> None:
    """Make an empty SQLite file for a deployment that begins with none, as SQLite does without a shadow.

    A file that is missing beside a PostgreSQL that holds anything was lost, or its name is wrong: nothing is made.
    """
    if current.pair is None or current.desired is not Side.SQLITE or current.pair.path.exists():
        return
    with suppress(SwitchError, psycopg.Error, OSError), current.arbiter() as store:
        if store.connection.execute(_ANY_TABLE).fetchone() is None:
            current.pair.path.touch(mode=0o644)
            log.warning("%s is new: neither side held anything", current.pair.path)


def begin_with_first_session(current: Runtime) -> None:
    """The same, called for each session: only the first has something to do."""
    if current.begun.locked():
        return
    if in_request() or _on_event_loop():
        # Not a daemon: a process that ends meanwhile must not leave a raised fence behind.
        threading.Thread(target=_begin_or_say_why_not, args=(current,), name="st-begin").start()
    else:
        _begin_or_say_why_not(current)


def _on_event_loop() -> bool:
    """Whether waiting here would hold up an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _begin_or_say_why_not(current: Runtime) -> None:
    try:
        begin(current)
    except (SwitchError, psycopg.Error, sqlite3.Error, OSError) as error:
        log.warning("the pair of databases could not be looked at: %s", error)


def switch_at_start(current: Runtime) -> bool:
    """Switch to the side that ST_DATABASE_URL names, if it is asked for and its gates are met.

    Returns:
        Whether that side is primary now.
    """
    if current.pair is None or current.settings.cutover is not Cutover.AUTO or not current.router.prepared:
        return True
    if current.primary() is current.desired:
        return True
    try:
        with current.stores("st-autoswitch") as stores:
            try:
                return _switch(current, Applier(stores))
            except Refused as refused:
                _record_refusal(stores, current.desired, refused)
                raise
    except Refused as refused:
        for reason in refused.reasons or (str(refused),):
            log.warning("not switching to %s: %s", current.desired, reason)
    except (SwitchError, psycopg.Error, sqlite3.Error, OSError) as error:
        log.warning("not switching to %s: %s", current.desired, error)
    return current.primary() is current.desired


def _record_refusal(stores: Stores, to: Side, refused: Refused) -> None:
    """Put it into the history, as a command's refusal is; where that cannot be, the log has it."""
    with suppress(SwitchError, psycopg.Error):
        epoch = stores.postgres.read_control().epoch
        with stores.postgres.write() as connection:
            record(
                connection,
                f"refused to switch to {to}",
                epoch,
                {"reasons": refused.reasons or [str(refused)]},
            )


def _switch(current: Runtime, applier: Applier) -> bool:
    outcome = switch(
        applier,
        current.desired,
        max_pause_ms=current.settings.cutover_hold_ms,
        report=log.info,
        attempts=ATTEMPTS,
        await_others=True,
        told=Told(Moments(current.settings, log.warning), current.desired, applier.stores),
    )
    if isinstance(outcome, Aborted):
        log.warning("not switching to %s: %s", current.desired, outcome.reason)
        return current.primary() is current.desired
    if isinstance(outcome, Already):
        log.warning("switched by another process: %s is primary at epoch %s", outcome.primary, outcome.epoch)
        return True
    log.warning("%s is primary at epoch %s", outcome.primary, outcome.epoch)
    if outcome.primary is Side.POSTGRES:
        threading.Thread(target=_validate, args=(current,), name="st-validate", daemon=True).start()
    return True


def _validate(current: Runtime) -> None:
    """Validate the new primary's foreign keys beside the first requests; `cutover` again does what is left."""
    try:
        with current.stores("st-validate") as stores:
            deferred.validate_foreign_keys(stores.postgres.connection)
    except (psycopg.Error, SwitchError) as error:
        log.warning("foreign keys are not all validated: %s", error)
