"""Which keys may be compared now, on a pair that goes on living.

The applier is held out (its lock on the shadow is ours), and one read transaction is open on the primary. So
the shadow equals the primary at the watermark. A key must be equal now if no log entry beyond the watermark
names it and strict mode has not written it ahead. So a difference is no false alarm. The other keys are on
their way, and are compared later.

The check of the changed keys inside the fence and the verify both rest on this.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from app.db.common.errors import StaleAttempt
from app.db.rows import keys
from app.db.rows.catalog import Table
from app.db.rows.keys import RawKey
from app.db.sides.contract import Source, Target
from app.db.sides.stores import Stores

K = TypeVar("K")


@dataclass
class Instant:
    """Both sides at one instant.

    `target` is the transaction that holds the applier out; `shadow` reads within it.
    """

    primary: Source
    shadow: Source
    target: Target

    def moving(self, table: Table, asked: Collection[K], form: Callable[[RawKey], K | None]) -> set[K] | None:
        """Those of some keys that are on their way. None if all of the table is.

        Args:
            form: a key as either side's log holds it, in the form of `asked`. None: it has no such form.
        """
        wanted = set(asked)
        found = wanted.intersection(map(form, self._told(table)))
        whole = False
        # Read to the end in any case: PostgreSQL streams, and nothing else may be asked meanwhile.
        for raws in self.primary.changed_keys(table, self.target.position):
            whole = whole or None in raws
            found.update(wanted.intersection(form(raw) for raw in raws if raw is not None))
        return None if whole else found

    def all_moving(self, table: Table) -> list[RawKey] | None:
        """All keys of a table that are on their way. None if all of the table is."""
        found = {keys.identity(table, raw): raw for raw in self._told(table)}
        whole = False
        for raws in self.primary.changed_keys(table, self.target.position):
            whole = whole or None in raws
            found.update((keys.identity(table, raw), raw) for raw in raws if raw is not None)
        return None if whole else list(found.values())

    def _told(self, table: Table) -> list[RawKey]:
        return [keys.from_announced(table, text) for text in self._announced.get(table.name, ())]

    @cached_property
    def _announced(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for table, text, _ in self.target.announced():
            found.setdefault(table, []).append(text)
        return found


@contextmanager
def instant(stores: Stores) -> Iterator[Instant]:
    """Hold the applier out and the primary's state still for the duration of a block.

    Raises:
        StaleAttempt: the sides are being switched.
    """
    primary, shadow = stores.directions()
    with shadow.target() as target, primary.source() as source:
        if target.control.primary is shadow.side or target.control.epoch != source.control.epoch:
            raise StaleAttempt("the sides were switched meanwhile", hint="run the same command again")
        yield Instant(source, shadow.reader(), target)
