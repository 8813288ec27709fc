"""The session layer's own settings: the operator's toggles, all with the prefix ST_.

The application's `get_settings().database_url` (ST_DATABASE_URL) says which side this deployment wants as
primary. Everything else about the pair of databases is here. So these files work in any checkout whose own
settings know nothing of it. Installed as a tool of their own, beside any application, they ask the
environment alone, and import nothing of an application.
"""

from __future__ import annotations

import os
from enum import StrEnum
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL

from app.db.common.deadline import at_most, in_request
from app.db.common.errors import ConfigurationError, SwitchError, first_line

# Whether these files are the package `app.db` of a backend. The wheel has them under a name of its own.
IN_APPLICATION = __name__.partition(".")[0] == "app"
_BACKEND = Path(__file__).resolve().parents[3]
_MOST_MS = (
    2**31 - 1
)  # what PostgreSQL and SQLite take; beyond it a server refuses, and SQLite waits not at all
_ENV_FILES = (_BACKEND.parent / ".env", _BACKEND / ".env") if IN_APPLICATION else ()


class DualWrite(StrEnum):
    """How closely a commit is coupled to the shadow."""

    OFF = "off"  # changes are captured in the log; nobody applies them from here
    ASYNC = "async"  # a background applier follows
    SYNC = "sync"  # a commit also waits, within a limit, until the shadow has it
    STRICT = "strict"  # the shadow takes the change before the primary commits


class Cutover(StrEnum):
    """What a start does when ST_DATABASE_URL names the side that is not primary."""

    MANUAL = "manual"  # follow the control row and say so loudly
    AUTO = "auto"  # perform the guarded switch if its gates are met


class ShadowReads(StrEnum):
    """Whether a share of the reads is repeated on the shadow and compared."""

    OFF = "off"
    COMPARE = "compare"


class Pooler(StrEnum):
    """What stands between this process and PostgreSQL."""

    NONE = "none"  # a server session is ours: start-up options and prepared statements work
    TRANSACTION = "transaction"  # PgBouncer in transaction pooling: neither may be used


class ShimSettings(BaseSettings):
    """Settings of the session layer, read from the environment and the backend's .env files."""

    model_config = SettingsConfigDict(
        env_prefix="ST_",
        env_file=_ENV_FILES,
        env_file_encoding="utf-8",
        extra="ignore",
    )

    shadow_database_url: str = ""
    dual_write: DualWrite = DualWrite.SYNC
    dual_write_timeout_ms: Annotated[int, Field(ge=1, le=60_000)] = 500
    cutover: Cutover = Cutover.MANUAL
    cutover_hold_ms: Annotated[int, Field(ge=0, le=60_000)] = 1500
    background_hold_ms: Annotated[int, Field(ge=0, le=600_000)] = 30_000
    request_deadline_ms: Annotated[int, Field(ge=0, le=600_000)] = 2_300  # 0: none
    shadow_reads: ShadowReads = ShadowReads.OFF
    shadow_read_rate: Annotated[float, Field(ge=0, le=1)] = 0.01
    pg_pooler: Pooler = Pooler.NONE
    pg_pool_size: Annotated[int, Field(ge=1, le=1000)] = 20
    pg_connect_timeout_s: Annotated[int, Field(ge=1, le=300)] = 5
    pg_lock_timeout_ms: Annotated[int, Field(ge=0, le=_MOST_MS)] = 5_000
    pg_statement_timeout_ms: Annotated[int, Field(ge=0, le=_MOST_MS)] = 30_000
    pg_idle_transaction_timeout_ms: Annotated[int, Field(ge=0, le=_MOST_MS)] = (
        60_000  # of the application's; 0: none
    )
    sqlite_busy_timeout_ms: Annotated[int, Field(ge=0, le=_MOST_MS)] = 5_000
    min_free_mb: Annotated[int, Field(ge=0)] = (
        64  # on each disk that can be seen; below it the gate `space` is closed
    )
    retention_dir: str = ""  # of the backend's archives, see `archives`; its disk is watched with the others
    sqlite_backup: str = ""  # folder for copies of the file; empty: `backups` beside the file; off: none

    # Commands at named moments, see app.db.switch.moments; empty: none.
    hook_before_fence: str = ""
    hook_after_promote: str = ""
    hook_on_abort: str = ""
    hook_on_unknown: str = ""
    hook_on_mismatch: str = ""
    hook_on_degraded: str = ""
    hook_after_copy: str = ""
    hook_after_verify: str = ""
    hook_after_complete: str = ""
    hook_webhook_url: Annotated[str, Field(repr=False)] = ""
    hook_timeout_s: Annotated[float, Field(gt=0, le=600)] = 10.0

    def archives(self) -> Path | None:
        """The folder of archives, which may be missing. None where no application keeps any."""
        said = self.retention_dir.strip()
        if said:
            return Path(said)
        return _BACKEND / "archive" if IN_APPLICATION else None

    def hold_s(self) -> float:
        """Seconds that a transaction of this thread is held at a fence: fewer while somebody waits for an answer."""
        if in_request():
            return at_most(self.cutover_hold_ms / 1000)
        return max(self.cutover_hold_ms, self.background_hold_ms) / 1000


def load_settings() -> ShimSettings:
    """Read the settings afresh.

    Raises:
        ConfigurationError: a variable has a value it cannot have. Names the variable.
    """
    try:
        return ShimSettings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "ST_" + "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigurationError(
            f"{name} is {first['input']!r}: {first['msg']}", hint="see .env.example for what it may be"
        ) from None


def database_url() -> str | None:
    """ST_DATABASE_URL as the application's settings have it; without an application the variable itself.

    The settings may hold it as text, as SQLAlchemy's URL, or as a secret of pydantic.

    Raises:
        ConfigurationError: they cannot be read.
    """
    if not IN_APPLICATION:
        return os.environ.get("ST_DATABASE_URL") or None
    try:
        named = import_module("app.core.config").get_settings().database_url
    except (SwitchError, ValidationError):
        raise
    except Exception as error:  # the application's own code
        raise ConfigurationError(
            f"the application's settings name no database: {first_line(error)}",
            hint="app.core.config needs a get_settings() with a database_url",
        ) from error
    if isinstance(named, SecretStr):
        return named.get_secret_value()
    return named.render_as_string(hide_password=False) if isinstance(named, URL) else named and str(named)


def database_echo() -> bool:
    """Whether the application's settings ask for every statement to be logged."""
    if not IN_APPLICATION:
        return False
    return bool(getattr(import_module("app.core.config").get_settings(), "database_echo", False))


@lru_cache(maxsize=1)
def shim_settings() -> ShimSettings:
    """The settings of this process, read once."""
    return load_settings()
