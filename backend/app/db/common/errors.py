"""Every error of the session layer and the migration, in one tree.

Each error says what was being done, what is wrong and what to do. The reader is an operator in the middle of
a switch. `SwitchError.retryable` separates "the same request may succeed in a moment" (HTTP 503 with
Retry-After) from "somebody has to act".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    _Answer = Exception
else:
    try:  # where there is a web framework it answers these by itself, also without a handler of ours
        from starlette.exceptions import HTTPException as _Answer
    except ImportError:
        _Answer = Exception

RETRY_AFTER_S = 2  # when a sender that was refused may come again


def counted(number: int, one: str, many: str = "") -> str:
    """A number of things with the words for one or for many, which are `one` and an s if not given."""
    return f"{number} {one}" if number == 1 else f"{number} {many or one + 's'}"


def first_line(error: BaseException) -> str:
    """What an error says, without statement and details; its kind if it says nothing."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


# What a database says of a table, a column or a function that is not there: SQLSTATE, and SQLite's words.
_MISSING = ("42P01", "42703", "42883")
PUT_RIGHT = (
    "run st-migrate prepare, then st-migrate verify; if the same is missing still, its table was changed or dropped "
    "by hand: st-migrate abort, then prepare and backfill anew"
)


def is_missing(error: BaseException) -> bool:
    """Whether a statement named a table, a column or a function that its database does not have."""
    words = str(error).startswith(
        ("no such table", "no such column")
    )  # SQLite has no code of its own for them
    return getattr(error, "sqlstate", None) in _MISSING or (
        getattr(error, "sqlite_errorname", None) == "SQLITE_ERROR" and words
    )


MAKE_ROOM = "make room on that disk, or look at it; nothing is lost meanwhile"
_FULL = ("SQLITE_FULL", "SQLITE_IOERR")


def mended_by(error: BaseException) -> tuple[str, str | None] | None:
    """What to do about an error that says by itself what is wrong, and the st-migrate command for it if there is one."""
    if is_missing(error):
        return PUT_RIGHT, "prepare"
    full = str(getattr(error, "sqlite_errorname", "")).startswith(_FULL)
    return (MAKE_ROOM, None) if full or getattr(error, "sqlstate", None) == "53100" else None


class SwitchError(Exception):
    """Base of all errors of the session layer.

    Args:
        message: what is wrong, one sentence, naming the table, file or setting.
        hint: what to do about it; a command where there is one.

    `codes` are those of the findings that it stands for, as preflight lists them; none for most errors.
    """

    retryable = False
    codes: tuple[str, ...] = ()

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        Exception.__init__(self, message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} - {self.hint}" if self.hint else self.message


class ConfigurationError(SwitchError):
    """A setting, URL or file is wrong: nothing was changed."""


class NotPrepared(SwitchError):
    """The databases carry no control rows, or those of another pair."""


class Refused(SwitchError):
    """A gate said no: nothing was changed.

    Args:
        reasons: each failing gate in the operator's words.
        codes: of the findings, where preflight would list them.
    """

    def __init__(
        self,
        message: str,
        *,
        reasons: tuple[str, ...] = (),
        hint: str | None = None,
        codes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, hint=hint)
        self.reasons = reasons
        self.codes = codes


class NotServed(SwitchError, _Answer):
    """Nothing was stored, and the fault is not the request's: over HTTP 503 with Retry-After."""

    status_code = 503

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        SwitchError.__init__(self, message, hint=hint)
        self.detail = message
        self.headers = {"Retry-After": str(RETRY_AFTER_S)}


class Unavailable(NotServed):
    """The same request may succeed in a moment."""

    retryable = True


class PrimaryUnavailable(Unavailable):
    """The fence stayed up longer than a transaction may be held; the same request may be sent again."""


class Fenced(Unavailable):
    """A write reached a side that takes no application writes (a stale process, worker or shell)."""


class FileReplaced(NotServed):
    """Another file took the place of the SQLite file that this process has open; nothing is written."""


class StaleAttempt(SwitchError):
    """A coordinator found that its attempt was ended by somebody else; it must not touch anything."""


class ShadowUnavailable(Unavailable):
    """The shadow cannot take changes now (down, stalled, out of connections)."""


class ForkedInUse(SwitchError):
    """This process was forked while its parent used the SQLite file, whose locks do not survive that."""


class SchemaDrift(SwitchError):
    """The two sides do not have the same tables and columns; apply stops and nothing is lost."""

    codes = ("schema.drift",)


class CaptureLost(SchemaDrift):
    """Writes of a table are not all captured; whoever applies puts that right, see `app.db.apply.heal`."""


class ApplyFailed(SwitchError):
    """A round of apply failed for a reason that waiting does not mend.

    Args:
        op: read, delete, insert, advance.
        table: the table that was being written, if known.
        log_range: first and last log position of the round.
    """

    def __init__(self, message: str, *, op: str, table: str | None, log_range: str, hint: str | None) -> None:
        super().__init__(f"apply {op} {table or ''} [{log_range}]: {message}", hint=hint)
        self.op = op
        self.table = table
        self.log_range = log_range


class UnsupportedValue(Exception):
    """A stored value that the other side cannot hold without changing it.

    Args:
        column: the column that holds it.
        reason: why, in a few words; it is stored with the quarantined row.
    """

    def __init__(self, column: str, reason: str) -> None:
        super().__init__(f"{column}: {reason}")
        self.column = column
        self.reason = reason
