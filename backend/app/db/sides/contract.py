"""What a side must be able to do to be applied from or applied to.

Two folders implement it, `sqlite` and `postgres`. They hold only what truly differs between the engines, and
neither knows the other. A `Source` is one read transaction on the primary: a consistent state and its log
position. A `Target` is one write transaction on the shadow, which holds the applier's lock since before the
source was opened. Leaving it without an error commits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from app.db.common.urls import Side
from app.db.rows.catalog import Row, Table
from app.db.rows.keys import RawKey
from app.db.rows.refused import Held, Unsettled
from app.db.sides.control import Control

FETCH = 2_000  # rows per step of a stream: memory stays constant whatever the table holds
START = "0"  # the position before the first change, on either side


def mark_of(number: int, at: float) -> str:
    """A log entry's mark: an older copy of its side gives its number to an entry of another time."""
    return f"{number} {at!r}"


def number_of(mark: str) -> int:
    """The number of a mark's entry."""
    return int(mark.partition(" ")[0])


@dataclass(frozen=True)
class Backlog:
    """What of the log a source holds beyond a position.

    `upto` is the position that covers all of it, and `counts` says how many entries each table has. `oldest`
    is the time of the oldest entry in seconds since 1970, by the primary's clock.
    """

    upto: str
    counts: dict[str, int]
    oldest: float | None

    @property
    def entries(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True)
class InFlight:
    """Keys by table that an open transaction has logged, and the token that names the transaction."""

    raws: dict[str, list[RawKey]]
    token: str

    @classmethod
    def of(cls, logged: Iterable[tuple[str, RawKey]], token: str) -> InFlight:
        """From (table, key). None as a key stands for the whole table."""
        raws: dict[str, list[RawKey]] = {}
        for table, raw in logged:
            raws.setdefault(table, []).append(raw)
        return cls(raws, token)


class Source(Protocol):
    """One consistent state of the primary."""

    control: Control

    def backlog(self, after: str) -> Backlog:
        """What the log holds beyond a shadow's position. NotPrepared: it ends before that."""

    def logged_tables(self, after: str) -> set[str]:
        """The tables that the log names beyond any position; how far it reaches back does not matter."""

    def foresee(self, tables: Sequence[Table], after: str) -> None:
        """The changed rows of these tables are few, and will be asked for next: they may be read in one go."""

    def mark(self, position: str) -> str | None:
        """What tells the newest entry that a position covers from others that had its number.

        None if there is none.
        """

    def require_mark(self, mark: str | None, applied: str | None = None) -> None:
        """Make sure that neither side is an older copy. PostgreSQL is asked when the transaction begins, see `Store.source`.

        Args:
            mark: that of an entry that has been applied. None if it is not known.
            applied: the shadow's position, read after this transaction began or under the lock. Any earlier
                one may be behind what another process has applied and trimmed since.

        Raises:
            NotPrepared: the log has another entry under that number, ends before it, or was trimmed beyond it.
        """

    def changed_keys(self, table: Table, after: str) -> Iterator[list[RawKey]]:
        """The distinct changed keys in lists. None as a key stands for the whole table."""

    def changed_rows(self, table: Table, after: str) -> Iterator[list[Row]]:
        """The present rows of the changed keys."""

    def rows_of(self, table: Table, raws: Sequence[RawKey], *, thorough: bool = False) -> list[Row]:
        """The present rows of some keys, which either side may have logged.

        Args:
            thorough: find keys in spellings that nobody expects, too, by a look at every row.
        """

    def count(self, table: Table) -> int:
        """How many rows a table has."""

    def has_ended(self, token: str) -> bool:
        """Whether the transaction that a token of strict mode names is no longer in flight."""

    def all_rows(self, table: Table) -> Iterator[list[Row]]: ...


class Target(Protocol):
    """One transaction of the applier on the shadow."""

    control: Control
    position: str
    mark: str | None  # of the newest entry that has been applied here, None if it is not known
    marks: bool  # whether this pair keeps marks; one of an earlier version does not
    careful: bool  # rows are written one by one, so that a row which collides can go to quarantine alone

    @property
    def is_clean(self) -> bool:
        """Whether a small round may begin here: nothing stands announced, and nothing stood in quarantine."""

    @property
    def recalls(self) -> bool:
        """Whether `recall` has to be called before rows are written."""

    def recall(self, held: Held) -> None:
        """Learn what stands in quarantine: rows that only this side holds stay, until the primary has their key."""

    @property
    def unsettled(self) -> Unsettled:
        """What has to be written to the quarantine, on PostgreSQL, before this transaction commits."""

    def shed_foreign_keys(self) -> int:
        """Drop what would reject or cascade when rows are replaced here. Returns how many keys there were."""

    def covers(self, position: str, end: str) -> bool:
        """Whether nothing up to a position of the primary's log, which has this end, is missing here."""

    def burst(self, entries: int) -> None:
        """Prepare for the writes of a round of so many log entries, the last of this transaction."""

    def announced(self) -> list[tuple[str, str, str]]:
        """(table, key as text, token) of what strict mode wrote here ahead of the primary."""

    def clear(self, table: Table) -> None: ...

    def delete(self, table: Table, raws: Sequence[RawKey]) -> None: ...

    def replace(self, table: Table, raws: Sequence[RawKey], rows: list[Row]) -> int:
        """Bring a few keys to the rows given, which are all that exist of them. Returns rows refused."""

    def insert(self, table: Table, rows: Iterable[list[Row]]) -> int:
        """Insert rows; those that this side cannot hold are quarantined. Returns how many were refused."""

    def announce(self, table: Table, raws: Sequence[RawKey], token: str) -> None:
        """Remember keys that strict mode writes here before the primary commits them."""

    def announce_all(self, table: Table, token: str) -> None:
        """Remember the keys of all rows that a table has here."""

    def forget_announced(self, texts: dict[str, list[str]]) -> None: ...

    def advance(self, position: str, changes: int, mark: str | None = None) -> None: ...


class Store(Protocol):
    """One side of the pair, for one thread at a time."""

    side: Side

    def source(self, after: str | None = None, mark: str | None = None) -> AbstractContextManager[Source]:
        """A read transaction.

        Args:
            after: the position beyond which changes will be asked for.
            mark: what `require_mark` will be asked about.
        """

    def target(self, *, durable: bool = False, careful: bool = False) -> AbstractContextManager[Target]: ...

    def reader(self, connection: Any = None) -> Source:
        """Reads within the transaction that a connection is in; by default the store's own connection."""

    def writer(self) -> Target:
        """Writes within the transaction that the store's connection is in; the caller has the right to."""

    def in_flight(self, connection: Any) -> InFlight:
        """What the transaction that a connection is in has logged."""

    def read_control(self) -> Control: ...

    def read_position(self) -> str:
        """How far the other side's log has been applied here."""

    def read_mark(self) -> str | None:
        """The mark of the newest entry that was applied here. None if it is not known."""

    def read_watermark(self) -> tuple[str, float]:
        """The same, and when that was, in seconds since 1970 by the applier's clock. 0 if never."""

    def log_end(self) -> str:
        """The position that covers all of the log now."""

    def mend_log(self) -> str | None:
        """Make sure that no position of the log is given out twice.

        Returns the highest position in use, where positions have an order; else None.
        """

    def finish_by(self, until: float | None) -> None:
        """Give up what is not done at this moment of `time.monotonic`; None: be as patient as usual."""

    def trim(self, covered_by: Sequence[str], limit: int) -> int: ...

    def log_size(self, limit: int) -> int: ...

    def has_changes(self, after: str) -> bool: ...

    def close(self) -> None: ...
