"""The switch: move the primary from one side to the other, in either direction, by one protocol.

    gates -> begin (the attempt is on the arbiter's record) -> fence the old primary -> drain ->
    check the keys changed since the last verify -> committing -> ONE commit in PostgreSQL's control row
    -> SQLite's control row follows -> waiting transactions go on, on the new primary

PostgreSQL's control row is the arbiter in both directions. Before its commit anything that goes wrong ends
the attempt and lowers the fence. After the commit there is only forward. Every statement names the attempt
token in its WHERE clause, so a coordinator that was declared dead and wakes up changes nothing. Until
SQLite's row says `committing`, a fenced SQLite can be released without asking PostgreSQL at all. A
coordinator may not commit before that row let it pass. From then on only PostgreSQL knows.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psycopg
from psycopg import errors as pg_errors

from app.db.apply.changed import ChangedKeys
from app.db.apply.compare import Mismatch
from app.db.apply.outcome import Round
from app.db.apply.round import Applier
from app.db.common.errors import (
    ApplyFailed,
    ShadowUnavailable,
    StaleAttempt,
    SwitchError,
    counted,
    first_line,
)
from app.db.common.failpoints import Failpoint, failpoint
from app.db.common.urls import Side
from app.db.sides.control import (
    Control,
    begin_attempt,
    fence_postgres,
    fence_sqlite,
    mark_committing,
    postgres_control,
    promote,
)
from app.db.sides.locks import hold_rounds, hold_writers, writers_in_flight
from app.db.sides.phase import Phase, actor, record
from app.db.sides.postgres import deferred
from app.db.switch.attempt import ATTEMPT_GRACE_S, BEFORE_FENCE_S, end_attempt, follow
from app.db.switch.ids import Ids
from app.db.switch.state.readiness import quarantined
from app.db.switch.state.stamp import CARRIED


@dataclass(frozen=True)
class Moved:
    """The new side is primary.

    `pause_ms`: from the fence going up to the moment waiting writers could go on.
    """

    primary: Side
    epoch: int
    pause_ms: float
    drained: int
    checked_keys: int
    not_valid: tuple[str, ...] = ()


@dataclass(frozen=True)
class Aborted:
    """The attempt ended before its commit; the old side is primary and takes writes."""

    reason: str
    retryable: bool
    mismatches: tuple[Mismatch, ...] = ()
    pause_ms: float = 0.0


class _Abort(Exception):
    def __init__(self, reason: str, *, retryable: bool, mismatches: tuple[Mismatch, ...] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retryable = retryable
        self.mismatches = mismatches


class Coordinator:
    """Performs one attempt to move the primary to the other side.

    Args:
        applier: the pair, through connections of this coordinator's own.
        max_pause_ms: the attempt is aborted when writers would wait longer than this.
        report: called with one line per step, for people who watch.
        give_up_at: the moment of `time.monotonic` from which the attempt is not begun any more.
    """

    def __init__(
        self,
        applier: Applier,
        *,
        max_pause_ms: int,
        report: Callable[[str], None] = lambda line: None,
        give_up_at: float | None = None,
    ) -> None:
        self._applier = applier
        self._stores = applier.stores
        self._sqlite = applier.stores.sqlite
        self._postgres = applier.stores.postgres
        self._budget = max_pause_ms / 1000
        self._report = report
        self._give_up_at = give_up_at
        self._token = uuid.uuid4().hex
        self._fenced_at: float | None = None

    def move(self, to: Side) -> Moved | Aborted:
        """Make `to` the primary. The gates are the caller's affair. See `app.db.switch.gates`.

        The attempt does not outlive this call. It has committed, or it is ended and the fence lowered, as far
        as the databases can be reached.

        Raises:
            SwitchError: somebody else ended the attempt. Or PostgreSQL went away at the final commit, and the
                outcome is unknown or SQLite does not follow it yet.
        """
        control = self._postgres.read_control()
        if control.primary is to:
            return Aborted(f"{to} already is primary at epoch {control.epoch}", retryable=False)
        try:
            changed = self._catch_up()
            ids = Ids(self._stores, self._applier.schema())
            ids.read_logs()
            self._begin(control)
            # From here on nobody may wait long for a server that is silent: writers are being held.
            self._postgres.limit_silence(self._budget + ATTEMPT_GRACE_S)
            self._fence(control)
            return self._finish(to, control, changed, ids)
        except _Abort as abort:
            return self._aborted(abort.reason, abort.retryable, abort.mismatches)
        except (psycopg.Error, sqlite3.Error, ShadowUnavailable, ApplyFailed, OSError) as error:
            return self._aborted(first_line(error), True, ())
        except BaseException as error:
            # Guarded by the token: after the commit, or if somebody else ended it, this only follows.
            with suppress(psycopg.Error, sqlite3.Error, SwitchError):
                end_attempt(self._stores, self._token, f"{type(error).__name__}: {error}")
            raise
        finally:
            self._postgres.limit_silence(None)

    def _catch_up(self) -> ChangedKeys:
        """Drain and compare before anybody has to wait, so that little is left to do inside the fence."""
        self._applier.forget_schema()  # read it now, not inside the fence
        self._report("draining the log while writers go on")
        self._applier.drain(self._is_late)
        changed = ChangedKeys(self._applier, self._give_up_at)
        self._report("comparing the keys changed since the verify")
        if found := changed.check_rest():
            raise _Abort(
                f"{counted(len(found), 'row differs', 'rows differ')} from the primary",
                retryable=False,
                mismatches=tuple(found),
            )
        return changed

    def _is_late(self) -> bool:
        return self._give_up_at is not None and time.monotonic() > self._give_up_at

    def _begin(self, control: Control) -> None:
        with self._postgres.write() as connection:
            begun = begin_attempt(
                connection,
                control,
                self._token,
                phase=Phase.REPLICATING,
                seconds=BEFORE_FENCE_S + self._budget + ATTEMPT_GRACE_S,
                note=actor(),
            )
            if begun:
                record(
                    connection,
                    f"switch to {control.primary.other} begun",
                    control.epoch,
                    {"attempt": self._token},
                )
        if not begun:
            now = self._postgres.read_control()
            raise _Abort(
                f"another attempt is under way ({now.note})" if now.attempt else "the pair changed meanwhile",
                retryable=True,
            )
        failpoint(Failpoint.SWITCH_BEGUN)

    def _fence(self, control: Control) -> None:
        """Stop the old primary's writers. Returns once none is in flight."""
        deadline = time.time() + self._budget + ATTEMPT_GRACE_S
        if control.primary is Side.SQLITE:
            with self._sqlite.write() as connection:
                self._fenced_at = time.monotonic()
                fenced = fence_sqlite(connection, self._token, control.epoch, deadline)
        else:
            fenced = self._fence_postgres(control)
        if not fenced:
            raise _Abort("the fence could not be raised: the pair changed meanwhile", retryable=True)
        self._report("fence up")
        failpoint(Failpoint.SWITCH_FENCED)

    def _fence_postgres(self, control: Control) -> bool:
        try:
            with self._postgres.write() as connection:
                self._fenced_at = time.monotonic()
                connection.execute(
                    f"SET LOCAL lock_timeout = '{max(1, int(self._budget * 1000))}ms'".encode()
                )
                hold_writers(connection)
                return fence_postgres(connection, self._token, control.epoch)
        except pg_errors.LockNotAvailable as error:
            who = ", ".join(writers_in_flight(self._postgres.connection)) or "writers that have ended since"
            raise _Abort(f"the fence waits for transactions that write: {who}", retryable=True) from error

    def _finish(self, to: Side, control: Control, changed: ChangedKeys, ids: Ids) -> Moved:
        last = self._applier.round(durable=True, even_if_paused=True, settle=True)
        if not isinstance(last, Round):
            raise _Abort(last.reason, retryable=True)
        self._in_time("drained")
        failpoint(Failpoint.SWITCH_DRAINED)
        if found := changed.check_rest():
            raise _Abort(
                f"{len(found)} of the rows changed since the verify {'differs' if len(found) == 1 else 'differ'}",
                retryable=False,
                mismatches=tuple(found),
            )
        if (held := quarantined(self._postgres.connection)).unaccepted:
            raise _Abort(held.open_text(), retryable=False)
        self._in_time("checked")
        failpoint(Failpoint.SWITCH_CHECKED)
        ids.read_logs()
        if to is Side.POSTGRES:
            self._mark_committing()
        else:
            ids.advance_sqlite()
        failpoint(Failpoint.SWITCH_COMMITTING)
        self._commit(to, control, ids)
        failpoint(Failpoint.SWITCH_COMMITTED)
        self._follow(to, control.epoch + 1)
        pause = (time.monotonic() - (self._fenced_at or 0.0)) * 1000
        self._report(f"{to} is primary at epoch {control.epoch + 1}, pause {pause:.0f} ms")
        failpoint(Failpoint.SWITCH_DONE)
        return Moved(to, control.epoch + 1, pause, last.changes, changed.checked)

    def _follow(self, to: Side, epoch: int) -> None:
        try:
            follow(self._stores)
        except (psycopg.Error, sqlite3.Error, ShadowUnavailable) as error:
            raise SwitchError(
                f"{to} is primary at epoch {epoch}, but SQLite does not know yet ({first_line(error)})",
                hint="any backend or st-migrate recover tells it as soon as both databases answer",
            ) from error

    def _in_time(self, step: str) -> None:
        waited = time.monotonic() - (self._fenced_at or 0.0)
        if waited > self._budget:
            raise _Abort(
                f"writers had waited {waited * 1000:.0f} ms when the shadow was {step}", retryable=True
            )
        self._report(f"{step} after {waited * 1000:.0f} ms")

    def _mark_committing(self) -> None:
        """The last moment at which SQLite could be released without asking PostgreSQL has passed."""
        if not mark_committing(self._sqlite.connection, self._token):
            raise StaleAttempt("the attempt was ended by somebody else", hint="see st-migrate status")

    def _commit(self, to: Side, control: Control, ids: Ids) -> None:
        """The commit record. An error here leaves the outcome open; ask PostgreSQL until it answers."""
        try:
            with self._postgres.write() as connection:
                left = self._budget - (time.monotonic() - (self._fenced_at or 0.0))
                connection.execute(f"SET LOCAL lock_timeout = '{max(1, int(left * 1000))}ms'".encode())
                # Whatever the server's default: SQLite follows a record that a crash may not take back.
                connection.execute("SET LOCAL synchronous_commit = on")
                hold_rounds(connection)
                if to is Side.POSTGRES:
                    deferred.add_foreign_keys(connection)
                    if objections := ids.advance_postgres():
                        raise _Abort(f"sequences: {'; '.join(objections)}", retryable=False)
                    self._in_time("keyed")
                if not promote(connection, to, self._token, control.epoch):
                    raise StaleAttempt("the attempt was ended by somebody else", hint="see st-migrate status")
                connection.execute(
                    "UPDATE st_verify SET epoch = %s, position = %s, run = %s || ltrim(run, %s) WHERE id = 1",
                    (control.epoch + 1, self._stores.store(to).log_end(), CARRIED, CARRIED),
                )
                record(connection, f"primary {to}", control.epoch + 1, {"attempt": self._token})
        except psycopg.OperationalError as error:
            self._resolve(to, control.epoch + 1, error)

    def _resolve(self, to: Side, epoch: int, error: psycopg.OperationalError) -> None:
        deadline = time.monotonic() + self._budget + ATTEMPT_GRACE_S
        while True:
            try:
                with self._postgres.write() as connection:
                    # The lock waits for a commit that is still on its way. The history knows this attempt
                    # even if somebody has switched back meanwhile. So the answer is final.
                    postgres_control(connection, lock=True)
                    moved = connection.execute(
                        "SELECT 1 FROM st_history WHERE epoch = %s AND event = %s AND strpos(evidence, %s) > 0",
                        (epoch, f"primary {to}", self._token),
                    ).fetchone()
                break
            except (psycopg.OperationalError, ShadowUnavailable):
                if time.monotonic() > deadline:
                    raise SwitchError(
                        f"PostgreSQL went away during the commit ({first_line(error)}), its outcome is unknown",
                        hint="writers stay held until PostgreSQL is back; then any backend or st-migrate recover decides",
                    ) from error
                time.sleep(0.02)
        if moved is None:
            raise _Abort(f"the commit failed: {first_line(error)}", retryable=True) from error

    def _aborted(self, reason: str, retryable: bool, mismatches: tuple[Mismatch, ...]) -> Aborted:
        end_attempt(self._stores, self._token, reason)
        if self._sqlite.read_control().attempt == self._token:
            raise SwitchError(
                f"the switch failed ({reason}) and PostgreSQL does not answer, so nobody knows whether it took place",
                hint="writers stay held until PostgreSQL is back; then any backend or st-migrate recover decides",
            )
        pause = (time.monotonic() - self._fenced_at) * 1000 if self._fenced_at else 0.0
        self._report(f"aborted: {reason}")
        return Aborted(reason, retryable, mismatches, pause)
