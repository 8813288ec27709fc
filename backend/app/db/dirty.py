"""The keys that changed since the last verify, compared exactly while both sides go on living.

With the applier held out (its lock on the shadow is ours) and one read transaction on the primary, the
shadow equals the primary at the watermark. So every key that changed since the verify and not since the
watermark must be equal now, without false alarms; the others are left to the next call. Inside the fence
nothing is beyond the watermark, so the last call settles all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from app.db.apply import Applier
from app.db.catalog import Table
from app.db.compare import Mismatch, compare_rows
from app.db.errors import StaleAttempt
from app.db.postgres_read import PostgresSource
from app.db.store import RawKey, Row, Source
from app.db.store_postgres import PostgresStore
from app.db.store_sqlite import SqliteSource, SqliteStore
from app.db.urls import Side

_STEP = 1_000
T = TypeVar("T")


class DirtyKeys:
    """Checks the keys changed since the last verify, in steps.

    Args:
        applier: the pair.

    `checked` counts the keys compared so far.
    """

    def __init__(self, applier: Applier) -> None:
        self._applier = applier
        self._epoch = applier.postgres.read_control().epoch
        row = applier.postgres.connection.execute("SELECT position FROM st_verify WHERE id = 1").fetchone()
        self._since: str = row[0] if row else "0"
        self.checked = 0

    def check_rest(self) -> list[Mismatch]:
        """Compare every key that changed since the last call and has been applied.

        Raises:
            StaleAttempt: the sides were switched since this was made, so its position means nothing now.
        """
        return with_shadow_held(self._applier, self._check)

    def _check(self, primary: Source, shadow: Source, position: str) -> list[Mismatch]:
        if primary.control.epoch != self._epoch:
            raise StaleAttempt("the sides were switched meanwhile", hint="see st-migrate status")
        schema = self._applier.schema()
        found: list[Mismatch] = []
        announced = shadow.announced_keys()
        postponed = False
        for name in primary.backlog(self._since).counts:
            table = schema[name]
            later = [key for keys in primary.changed_keys(table, position) for key in keys]
            if None in later:
                postponed = True
                continue
            unsettled = {*map(str, later), *announced.get(name, ())}
            # Read to the end before anything else is asked: a connection to PostgreSQL streams one query.
            changed = [key for keys in primary.changed_keys(table, self._since) for key in keys]
            settled = [key for key in changed if key is not None and str(key) not in unsettled]
            found += self.compare(table, settled, primary, shadow)
        if not postponed:
            self._since = position
        return found

    def compare(self, table: Table, keys: list[RawKey], primary: Source, shadow: Source) -> list[Mismatch]:
        """Compare some keys of one table, quarantined rows left out."""
        found: list[Mismatch] = []
        for start in range(0, len(keys), _STEP):
            part = keys[start : start + _STEP]
            self.checked += len(part)
            found += compare_sides(table, primary.rows_of(table, part), shadow.rows_of(table, part), primary)
        return without_quarantined(self._applier, found) if found else []


def with_shadow_held(applier: Applier, check: Callable[[Source, Source, str], T]) -> T:
    """Call `check(primary, shadow, watermark)` while no round of apply can take place."""
    primary, shadow = applier.directions()
    with shadow.target() as target, primary.source() as source:
        return check(source, _reader(shadow), target.position)


def _reader(store: SqliteStore | PostgresStore) -> Source:
    """Reads within the transaction that a store's connection is in."""
    return (
        SqliteSource(store.connection) if isinstance(store, SqliteStore) else PostgresSource(store.connection)
    )


def compare_sides(table: Table, primary: list[Row], shadow: list[Row], source: Source) -> list[Mismatch]:
    """Compare rows of primary and shadow; the mismatches are told from SQLite's point of view."""
    if source.control.primary is Side.SQLITE:
        return compare_rows(table, primary, shadow)
    return compare_rows(table, shadow, primary)


def without_quarantined(applier: Applier, found: list[Mismatch]) -> list[Mismatch]:
    """Mismatches that are not explained by a quarantined row."""
    held = {
        (table, key)
        for table, key in applier.postgres.connection.execute("SELECT tbl, k FROM st_quarantine").fetchall()
    }
    return [item for item in found if (item.table, item.key_text()) not in held]
