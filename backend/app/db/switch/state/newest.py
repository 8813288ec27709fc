"""Whether both sides are the pair's newest, or an older copy was put back in the place of one.

Each side knows where it stands, because every change is numbered in its log. It also keeps how far the
other's log has been applied to it, by number and time of the newest entry. PostgreSQL also knows from which
position on the last verify began, and SQLite how far its log was trimmed. What one side knows of the other,
and the other lacks, gives an older copy away, whichever side is primary. Nothing is deleted because of it:
which copy counts, people decide.
"""

from __future__ import annotations

from app.db.common.urls import Side
from app.db.sides.contract import START
from app.db.sides.sqlite.files import older_epoch, older_file
from app.db.sides.stores import Stores
from app.db.switch.state.stamp import CARRIED

# A verify that a switch has carried over names the log's end instead, which the file need not have reached.
_VERIFIED = f"SELECT position FROM st_verify WHERE id = 1 AND epoch = %s AND run NOT LIKE '{CARRIED}%%'"
_BEFORE = "SELECT pg_snapshot_xmax(%s::pg_snapshot) < pg_snapshot_xmax(%s::pg_snapshot)"


def require_newest(stores: Stores) -> None:
    """Make sure that neither side is older than what the other knows of it.

    Raises:
        NotPrepared: one is. Says how that shows.
        psycopg.Error, sqlite3.Error: a side cannot be asked.
    """
    arbiter, position, mark = (
        stores.postgres.read_control(),
        stores.postgres.read_position(),
        stores.postgres.read_mark(),
    )
    with stores.sqlite.source() as source:
        source.require_mark(mark)
        if arbiter.primary is Side.SQLITE and source.control.epoch == arbiter.epoch:
            source.require_mark(
                mark, stores.postgres.read_position()
            )  # again: it may have been trimmed since
        if int(source.log_end()) < int(position):
            raise older_file(f"its log ends before entry {position}, which has been applied")
        if source.control.epoch < arbiter.epoch - 1:
            raise older_epoch(source.control.epoch, arbiter.epoch)
        if source.control.epoch != arbiter.epoch:
            return
    ours = stores.sqlite.read_position()
    # As the shadow, PostgreSQL may have been filled from a dump that lacks the newest entry of its own log.
    mark = stores.sqlite.read_mark() if arbiter.primary is Side.POSTGRES else None
    with stores.postgres.source(ours, mark) as theirs:
        theirs.require_mark(mark)
    if arbiter.primary is Side.SQLITE:
        return
    row = stores.postgres.connection.execute(_VERIFIED, (arbiter.epoch,)).fetchone()
    if row is None or row[0] == START:
        return
    older = ours == START or stores.postgres.connection.execute(_BEFORE, (ours, row[0])).fetchone() == (True,)
    if older:
        raise older_file(
            "the last verify has seen changes of PostgreSQL in it that it lacks",
            hint="put the newer file back, or run st-migrate verify --repair, which brings what is missing",
        )
