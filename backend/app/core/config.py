"""Application settings: environment first, then `backend/.env`, then the `.env` of the repository.

The getter caches one mutable instance, so a test or an operator's script can change a member in place;
`get_settings.cache_clear()` reads the sources again. Settings of the database layer live in `app.db`.
"""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

BACKEND_DIR = Path(__file__).resolve().parents[2]
REPO_DIR = BACKEND_DIR.parent
DEVELOPMENT = frozenset({"dev", "test"})
TRUTHY = frozenset({"1", "true", "yes", "on"})

# An exported but empty variable means "none" for these, even where a .env file has a value.
_BLANK_IS_NONE = ("crypto_key", "tradingview_webhook_secret", "admin_username", "admin_password")
_SECRETS = ("crypto_key", "tradingview_webhook_secret", "admin_password")


class Role(StrEnum):
    """What a process is for; see `app.roles`."""

    ALL = "all"
    WEB = "web"
    WORKER = "worker"
    SCHEDULER = "scheduler"


class Settings(BaseSettings):
    """Members of the same name as the `ST_` variables, in lower case."""

    model_config = SettingsConfigDict(env_prefix="ST_", extra="ignore", case_sensitive=False)

    app_name: str = "SigmaTrader API"
    environment: str = "dev"
    debug: bool = True
    version: str = "0.1.0"
    role: Role = Role.ALL
    database_url: str = f"sqlite:///{BACKEND_DIR / 'sigma_trader.db'}"
    database_echo: bool = False
    # No secret shows when the settings are printed.
    crypto_key: str | None = Field(None, repr=False)
    tradingview_webhook_secret: str | None = Field(None, repr=False)
    admin_username: str | None = None
    admin_password: str | None = Field(None, repr=False)
    allow_registration: bool = False
    any_session_is_admin: bool = False
    login_attempts_per_minute: Annotated[int, Field(ge=0, le=1_000_000)] = 5
    body_timeout_ms: Annotated[int, Field(ge=1, le=600_000)] = 10_000
    webhook_dedupe_window_s: Annotated[int, Field(ge=0, le=31_536_000)] = 45
    webhook_queue: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000
    webhook_max_wait_ms: Annotated[int, Field(ge=1, le=60_000)] = 2_000
    webhook_body_timeout_ms: Annotated[int, Field(ge=1, le=60_000)] = 2_000
    webhook_broker_timeout_ms: Annotated[int, Field(ge=1, le=60_000)] = 1_000
    webhook_dispatch: Literal["inline", "queue"] = "inline"
    order_workers: Annotated[int, Field(ge=0, le=64)] = 4
    order_max_age_s: Annotated[int, Field(ge=1, le=86_400)] = 120
    retention: bool = False
    retention_days: str = ""
    retention_dir: str = ""
    retention_batch_rows: Annotated[int, Field(ge=1, le=10_000)] = 500
    retention_max_lag_s: Annotated[int, Field(ge=1, le=86_400)] = 10
    retention_every_h: Annotated[float, Field(gt=0, le=8_760)] = 24.0
    replica_database_url: str = Field("", repr=False)
    replica_max_staleness_ms: Annotated[int, Field(ge=50, le=600_000)] = 2000
    zerodha_api_key: str | None = Field(None, repr=False)
    enable_legacy_alerts: bool = False
    canonical_market_data_broker: str = "zerodha"
    risk_engine_v2_enabled: bool = False
    screener_sync_limit: int = 1000
    instrument_master_sync_interval_hours: int = 24
    smartapi_instrument_master_url: str | None = None
    dsl_profile: str = "recommended"
    managed_risk_enabled: bool = True
    managed_risk_poll_interval_sec: float = 2.0
    managed_risk_max_per_cycle: int = 200

    @property
    def in_development(self) -> bool:
        """Whether this is a developer's or a test's own process, and no deployment."""
        return self.environment.strip().lower() in DEVELOPMENT


def is_truthy(text: str | None) -> bool:
    """True for 1, true, yes and on in any case, surrounding blanks ignored."""
    return (text or "").strip().lower() in TRUTHY


def running_under_pytest() -> bool:
    """True when pytest is loaded in this process; a variable that anybody may have left behind proves nothing."""
    return "pytest" in sys.modules


def _env_files() -> tuple[Path, ...]:
    """The .env files to read, weakest first; the working folder's only when neither of ours exists."""
    ours = tuple(path for path in (REPO_DIR / ".env", BACKEND_DIR / ".env") if path.is_file())
    return ours or (Path(".env"),)


def _apply_process_variables(settings: Settings) -> None:
    for name in _BLANK_IS_NONE:
        raw = os.environ.get(f"ST_{name.upper()}")
        if raw is not None:
            setattr(settings, name, raw.strip() or None)
    flag = os.environ.get("ST_RISK_ENGINE_V2_ENABLED")
    if flag is not None:
        settings.risk_engine_v2_enabled = is_truthy(flag)


def _apply_secret_files(settings: Settings) -> None:
    """What is still missing comes from the file of its name in ST_SECRETS_DIR: a container's secret, a credential."""
    folder = os.environ.get("ST_SECRETS_DIR", "").strip()
    for name in _SECRETS if folder else ():
        file = Path(folder) / f"st_{name}"
        if not getattr(settings, name) and file.is_file():
            setattr(settings, name, file.read_text(encoding="utf-8").strip() or None)


def _apply_test_overrides(settings: Settings) -> None:
    """Keep a test run away from the real database and from the real administrator."""
    settings.admin_username = None
    settings.admin_password = None
    settings.crypto_key = settings.crypto_key or "pytest-crypto-key"
    settings.enable_legacy_alerts = True
    # Code that tests the application makes its users by registering them.
    settings.allow_registration = True
    test_file = f"sqlite:///{BACKEND_DIR / 'sigma_trader_test.db'}"
    settings.database_url = os.environ.get("ST_TEST_DATABASE_URL", "").strip() or test_file


@lru_cache
def get_settings() -> Settings:
    """The settings of this process.

    Under pytest `database_url` is the test file, or ST_TEST_DATABASE_URL when that is set.
    """
    flag = os.environ.get("ST_RISK_ENGINE_V2_ENABLED")
    # The flag's text rule is wider than the framework's: anything that is not truthy means off.
    kept: dict[str, Any] = {} if flag is None else {"risk_engine_v2_enabled": is_truthy(flag)}
    settings = Settings(_env_file=_env_files(), **kept)  # type: ignore[call-arg]
    _apply_process_variables(settings)
    _apply_secret_files(settings)
    if running_under_pytest():
        _apply_test_overrides(settings)
    return settings
