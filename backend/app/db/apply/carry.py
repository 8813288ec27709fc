"""What a round carries, table by table, and what it sets aside.

The quarantine stands on PostgreSQL, for both directions. A round to PostgreSQL writes it in its own
transaction. A round to SQLite writes it on PostgreSQL just before SQLite commits: see `set_aside`.
"""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import errors as pg_errors

from app.db.common.errors import ApplyFailed, NotPrepared, first_line
from app.db.common.urls import Side
from app.db.rows import keys
from app.db.rows.catalog import Table, keep_spellings
from app.db.rows.keys import RawKey
from app.db.sides.contract import Source, Target
from app.db.sides.control import Control
from app.db.sides.postgres import aside
from app.db.sides.sqlite.spellings import of_key, unforeseen
from app.db.sides.stores import Stores


def recall(stores: Stores, target: Target) -> None:
    """Tell a target what stands in quarantine, before rows are written."""
    if target.recalls:
        target.recall(aside.held(stores.postgres.connection))


def set_aside(stores: Stores, target: Target) -> None:
    """Write to the quarantine what a round to SQLite found, durably and before SQLite commits.

    If SQLite's commit then fails, the entries name keys beyond its watermark, and the next round judges them
    anew. The rows themselves are on PostgreSQL, the primary. In the other order a crash could leave a row
    missing without a reason.
    """
    found = target.unsettled
    if not (found.released or found.refused):
        return
    with stores.postgres.write() as connection:
        connection.execute("SET LOCAL synchronous_commit = on")
        quarantine = aside.Quarantine(connection)
        for table, key in found.released | {(item.table.name, item.key_text()) for item in found.refused}:
            quarantine.release(table, [key])
        quarantine.put(Side.POSTGRES, found.refused)


def learn_spellings(stores: Stores, table: Table, source: Source, after: str) -> bool:
    """Note keys of SQLite in a spelling that nobody would look for. Returns whether there are such.

    PostgreSQL gives the key alone back. So the note has to stand before any row comes back, and stands in the
    transaction that carries the row there.
    """
    if not keys.may_coincide(table):
        return False
    columns = {column for raws in source.changed_keys(table, after) for column in unforeseen(table, raws)}
    found = [(c, of_key(stores.sqlite.connection, table, c)) for c in columns]
    learnt = {(table.name, c.name): spelling for c, spelling in found if spelling is not None}
    if learnt:
        keep_spellings(stores.postgres.connection, learnt, and_others=True)
    return bool(learnt)


def carry_table(table: Table, source: Source, target: Target, after: str, announced: Sequence[str]) -> int:
    """Replace the changed rows of one table, streaming. All deletes come first: no two rows collide.

    Args:
        announced: keys as strict mode announced them.
    """
    whole = False
    told = [keys.from_announced(table, text) for text in announced]
    for raws in source.changed_keys(table, after):
        whole = whole or None in raws
        target.delete(table, [raw for raw in raws if raw is not None])
    if announced:
        target.delete(table, told)
    if whole:
        target.clear(table)
        return target.insert(table, source.all_rows(table))
    refused = target.insert(table, source.changed_rows(table, after))
    if announced:
        # A key may be both announced and logged; its row is then inserted once, by the log.
        logged = {keys.identity(table, raw) for raws in source.changed_keys(table, after) for raw in raws}
        only_announced = _others(table, told, logged)
        if rows := source.rows_of(table, only_announced):
            refused += target.insert(table, [rows])
    return refused


def carry_few(table: Table, source: Source, target: Target, after: str, announced: Sequence[str]) -> int:
    """Replace a handful of changed rows of one table, with as few statements as may be. See `carry_table`."""
    changed = [raw for part in source.changed_keys(table, after) for raw in part]
    if None in changed:
        return carry_table(table, source, target, after, announced)
    rows = [row for part in source.changed_rows(table, after) for row in part]
    if announced:
        told = [keys.from_announced(table, text) for text in announced]
        only_announced = _others(table, told, {keys.identity(table, raw) for raw in changed})
        changed += only_announced
        rows += source.rows_of(table, only_announced) if only_announced else []
    return target.replace(table, changed, rows)


def collided(error: Exception, op: str, table: str | None, log_range: str) -> ApplyFailed:
    """What a round says that the shadow refused as a whole: with the key, where PostgreSQL names it."""
    detail = getattr(getattr(error, "diag", None), "message_detail", None)
    verify = f"run st-migrate verify --table {table}"
    if isinstance(error, pg_errors.UniqueViolation):
        verify = f"if two rows of SQLite have this key in two spellings, change or delete one; else {verify}"
    told = first_line(error) + (f" ({detail})" if detail else "")
    return ApplyFailed(told, op=op, table=table, log_range=log_range, hint=verify)


def _others(table: Table, raws: Sequence[RawKey], known: set[keys.Key | str]) -> list[RawKey]:
    """Those keys that are none of the known, each once."""
    found = {keys.identity(table, raw): raw for raw in raws}
    return [raw for identity, raw in found.items() if identity not in known]


def announced_keys(source: Source, target: Target, settle: bool) -> dict[str, list[str]]:
    """Announced keys whose transaction has ended on the primary; the others are still its own.

    Args:
        settle: all of them, if the primary's fence is up. A coordinator that was taken for dead comes here
            when others have lowered the fence. There may be a transaction in flight again.
    """
    found: dict[str, list[str]] = {}
    pending = target.announced()
    tokens = {token for _, _, token in pending}
    if not (settle and not source.control.writable):
        tokens = set(filter(source.has_ended, tokens))
    for table, text, token in pending:
        if token in tokens:
            found.setdefault(table, []).append(text)
    return found


def same_epoch(primary: Control, shadow: Control) -> None:
    if primary.pair != shadow.pair:
        raise NotPrepared(
            "the two databases belong to different pairs",
            hint="check both URLs; each was prepared with another partner",
        )
    if primary.epoch != shadow.epoch or primary.primary is not shadow.primary:
        raise NotPrepared(
            f"the control rows disagree (epochs {primary.epoch} and {shadow.epoch})",
            hint="run st-migrate recover",
        )
