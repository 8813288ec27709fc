"""Any exception as one line for the operator: what is wrong, why, and what to do, without any password.

The session layer's own errors say it themselves. Driver errors are told apart by SQLSTATE and SQLite's
error code, never by their text.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

import psycopg
from psycopg import errors as pg_errors
from pydantic import ValidationError
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from app.db.common.errors import (
    PUT_RIGHT,
    ConfigurationError,
    NotPrepared,
    Refused,
    SchemaDrift,
    SwitchError,
    is_missing,
)
from migration.common.outcome import Exit, Outcome

_AGAIN = "the same command goes on from there"
_EXITS: tuple[tuple[type[SwitchError], Exit], ...] = (
    (ConfigurationError, Exit.USAGE),
    (NotPrepared, Exit.USAGE),
    (Refused, Exit.FINDINGS),
    (SchemaDrift, Exit.FINDINGS),
)
# SQLite's primary result codes: what it means for the operator, what to do, exit code.
_SQLITE: dict[int, tuple[str, str, Exit]] = {
    sqlite3.SQLITE_READONLY: (
        "the SQLite file cannot be written",
        "give this user write permission on the file and its folder",
        Exit.USAGE,
    ),
    sqlite3.SQLITE_BUSY: (
        "the SQLite file is locked by another program",
        "find the long transaction or raise ST_SQLITE_BUSY_TIMEOUT_MS; " + _AGAIN,
        Exit.FAILED,
    ),
    sqlite3.SQLITE_IOERR: (
        "the disk of the SQLite file is full or does not work",
        f"make room, or look at the disk; {_AGAIN}",
        Exit.FAILED,
    ),
    sqlite3.SQLITE_FULL: ("the disk of the SQLite file is full", f"make room; {_AGAIN}", Exit.FAILED),
    sqlite3.SQLITE_CORRUPT: (
        "the SQLite file is damaged",
        "run PRAGMA integrity_check and restore it from a backup",
        Exit.FAILED,
    ),
    sqlite3.SQLITE_NOTADB: ("the SQLite file is not a database", "check the path", Exit.USAGE),
    sqlite3.SQLITE_CANTOPEN: ("the SQLite file cannot be opened", "check path and permissions", Exit.USAGE),
}
_POSTGRES: tuple[tuple[type[psycopg.Error], str, str, Exit], ...] = (
    (
        pg_errors.InsufficientPrivilege,
        "the PostgreSQL user lacks a privilege",
        "grant it (st-migrate preflight lists what is needed)",
        Exit.USAGE,
    ),
    (pg_errors.DiskFull, "the disk of PostgreSQL is full", f"make room; {_AGAIN}", Exit.FAILED),
    (
        pg_errors.ReadOnlySqlTransaction,
        "PostgreSQL is read-only",
        "name the primary server, or ALTER DATABASE ... RESET default_transaction_read_only "
        "(st-migrate status says where it is stored)",
        Exit.USAGE,
    ),
    (
        pg_errors.LockNotAvailable,
        "PostgreSQL did not grant a lock in time",
        f"end the long transaction there; {_AGAIN}",
        Exit.FAILED,
    ),
    (
        pg_errors.ObjectNotInPrerequisiteState,
        "PostgreSQL refuses this in the state that it or a table is in",
        f"mend what it names; {_AGAIN}",
        Exit.FAILED,
    ),
)
_AWAY = ("08", "57P")  # the SQLSTATEs of a server that breaks off, or does not let anybody in


def failure(error: BaseException, secrets: Iterable[str] = ()) -> Outcome:
    """The outcome that stands for an exception.

    Args:
        secrets: texts that must not appear, whoever wrote them into the message.
    """
    message, hint, exit_code, reasons = _describe(error)
    data = {
        "error": type(_cause(error)).__name__,
        "hint": hint and redact(hint, secrets),
        "reasons": [redact(reason, secrets) for reason in reasons],
        "codes": list(error.codes) if isinstance(error, SwitchError) else [],
    }
    return Outcome("error", redact(message, secrets), exit_code, data)


def _cause(error: BaseException) -> BaseException:
    """The driver's error where SQLAlchemy wrapped one; the wrapper's text holds SQL and parameters."""
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def _describe(error: BaseException) -> tuple[str, str | None, Exit, tuple[str, ...]]:
    error = _cause(error)
    if isinstance(error, SwitchError):
        exit_code = next((code for kind, code in _EXITS if isinstance(error, kind)), Exit.FAILED)
        return error.message, error.hint, exit_code, getattr(error, "reasons", ())
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", _AGAIN, Exit.FAILED, ()
    if is_missing(error):
        return f"something of this move is missing: {_first_line(error)}", PUT_RIGHT, Exit.FAILED, ()
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        what, hint, exit_code = _SQLITE.get(code, ("SQLite refused a statement", _AGAIN, Exit.FAILED))
        return f"{what}: {_first_line(error)}", hint, exit_code, ()
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        return f"ST_{name}: {first['msg']}", "see .env.example for what it may be", Exit.USAGE, ()
    if isinstance(error, pg_errors.UniqueViolation) and (table := error.diag.table_name or "").startswith(
        "st_"
    ):
        return (
            f"a number in {table} was given out twice: {_first_line(error)}",
            _numbers(table),
            Exit.FAILED,
            (),
        )
    for kind, what, hint, exit_code in _POSTGRES:
        if isinstance(error, kind):
            return f"{what}: {_first_line(error)}", hint, exit_code, ()
    if isinstance(error, psycopg.OperationalError):
        away = (error.sqlstate or "08").startswith(_AWAY)
        what = "PostgreSQL went away or cannot be reached" if away else "PostgreSQL gave a statement up"
        hint = f"{'see that it runs' if away else 'mend what it names'}; {_AGAIN}"
        return f"{what}: {_first_line(error)}", hint, Exit.FAILED, ()
    return f"{type(error).__name__}: {_first_line(error)}", "--debug shows where", Exit.FAILED, ()


def _numbers(table: str) -> str:
    """What puts a sequence of ours right that was set back, as a restore of data alone does."""
    column = "seq" if table == "st_change_log" else "id"
    return (
        f"if rows were restored into a live database: SELECT setval(pg_get_serial_sequence('{table}', '{column}'), "
        f"(SELECT max({column}) FROM {table})) (on PostgreSQL), then st-migrate verify"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or "no message").splitlines()[0]


def secrets_of(*urls: URL | None) -> set[str]:
    """Every form in which the passwords of some URLs may turn up in a message.

    A password that is a word of every message anyway (the name of a side, the user, the database) is left
    out. Hiding it would garble the message and tell more than it hides.
    """
    found: set[str] = set()
    for url in urls:
        password = None if url is None else url.password
        if url is None or not password or password in ("postgres", "sqlite", url.username, url.database):
            continue
        text = str(password)
        found |= {text, quote(text, safe=""), quote_plus(text), repr(text)[1:-1], url.render_as_string(False)}
    return found


_SHORT = 4  # letters
_URL_PASSWORD = re.compile(r"(://[^\s:/@]*:)[^\s]*@")


def redact(text: str, secrets: Iterable[str]) -> str:
    """A text without secrets, longest first because one may be part of another.

    A password of a few letters is hidden where it stands alone: inside of words it is none.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) < _SHORT:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
        else:
            text = text.replace(secret, "***")
    return _URL_PASSWORD.sub(r"\1***@", text)
