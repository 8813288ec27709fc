"""What a commit waits for: its own round, or the one that another commit just runs."""

from __future__ import annotations

import time

from app.db.apply.outcome import SWITCHED, TOO_MUCH
from app.db.apply.small import SMALL
from app.db.common import metrics
from app.db.common.errors import (
    NotPrepared,
    PrimaryUnavailable,
)
from app.db.common.settings import DualWrite
from app.db.session.replicator.follower import LEAST_SHARE, Follower
from app.db.sides.phase import Phase


class Replicator(Follower):
    """The applier of one process, with the waits of its commits."""

    def committed(self) -> bool:
        """A transaction of this process has committed on the primary.

        In sync and strict mode this waits until the shadow has it or the breaker opens.

        Returns:
            Whether the shadow is known to have it.

        Raises:
            PrimaryUnavailable: in sync mode: PostgreSQL, the primary, went away before the shadow had it.
        """
        mode = self._settings.dual_write
        if mode is DualWrite.OFF:
            return False
        self.start()
        if mode is DualWrite.ASYNC:
            # The thread looks soon by itself; a round per commit would take its time from commits.
            self._next_ticket()
            return False
        if not (self._worth_waiting() or self._primary_lost):
            self._asked.set()
            return False
        began = time.monotonic()
        ticket = self._next_ticket()
        self._carry(ticket, began + self._settings.dual_write_timeout_ms / 1000)
        if self._covered < ticket and self._primary_lost and mode is DualWrite.SYNC:
            self._once_more(ticket)
        metrics.SYNC_WAIT_SECONDS.observe(time.monotonic() - began)
        return self._covered >= ticket

    def _once_more(self, ticket: int) -> None:
        """Carry a commit over a new connection, because the primary broke off before the shadow had it.

        A primary that is gone may be given up by a forced rollback, so its commit is no answer by itself.

        Raises:
            PrimaryUnavailable: it does not answer.
        """
        with self._rounds:
            if self._covered < ticket and self._applier is not None:
                self._applier.finish_by(time.monotonic() + self._settings.dual_write_timeout_ms / 1000)
                try:
                    self._round(self._applier)
                except Exception as error:  # what is wrong is said below
                    self._failed(error)
                finally:
                    self._applier.finish_by(None)
        if self._covered < ticket and self._primary_lost:
            raise PrimaryUnavailable(
                "postgres went away before the shadow had this transaction",
                hint="it may be there when PostgreSQL is back; send the request again",
            )

    def catch_up(self) -> bool:
        """Wait, in any mode and within the time-out, for a round that begins now; whether there was one."""
        ticket = self._next_ticket()
        self._asked.set()
        with self._changed:
            self._changed.wait_for(
                lambda: self._covered >= ticket, timeout=self._settings.dual_write_timeout_ms / 1000
            )
        return self._covered >= ticket

    def rest(self, patience: float) -> bool:
        """Close the connections and begin no round until `go_on`. False: one took longer than so many seconds."""
        if not self._rounds.acquire(timeout=patience):
            return False
        self._close()
        return True

    def go_on(self) -> None:
        """Begin rounds again."""
        self._rounds.release()

    def _next_ticket(self) -> int:
        """Count a commit; a round that begins from now on covers it."""
        with self._changed:
            self._commits += 1
            return self._commits

    def _worth_waiting(self) -> bool:
        # Before its first look a process does not know the phase, and that is no reason to go on alone.
        return self._phase in (None, Phase.REPLICATING) and not (self._degraded or self._standing)

    def _carry(self, ticket: int, deadline: float) -> None:
        """See to it that a commit reaches the shadow: by a round of this thread or of another."""
        while self._covered < ticket and self._worth_waiting():
            if not self._rounds.acquire(timeout=max(0.0, deadline - time.monotonic())):
                break
            try:
                done = self._covered >= ticket or not self._worth_waiting() or self._lead(deadline)
            finally:
                self._rounds.release()
            if not done:
                self._asked.set()
                with self._changed:
                    self._changed.wait_for(
                        lambda: self._covered >= ticket or not self._worth_waiting(),
                        timeout=max(0.0, deadline - time.monotonic()),
                    )
            if time.monotonic() >= deadline:
                break
        if self._covered < ticket and self._worth_waiting():
            with self._changed:
                self._degrade("the shadow did not answer in time")

    def _lead(self, deadline: float) -> bool:
        """Run one round in a committing thread; False if that is better left to the thread.

        That is so if there is more to do than a commit may wait for, or right after a switch. It is also so
        if hardly any time is left: a round that runs out of time gives its connection up.
        """
        applier = self._applier
        least = self._settings.dual_write_timeout_ms / 1000 * LEAST_SHARE
        if applier is None or deadline - time.monotonic() < least:
            return False
        applier.finish_by(deadline)
        try:
            return self._round(applier, at_most=SMALL) not in (TOO_MUCH, SWITCHED)
        except Exception as error:  # the transaction is committed, and its caller must hear that
            self._failed(error)
            return not isinstance(error, NotPrepared)
        finally:
            applier.finish_by(None)
