"""Where settings come from, and that a test run stays away from the real database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.config_files import load_app_config, load_holidays, load_zerodha_symbol_map, supported_brokers
from app.core import config
from app.core.config import Settings, get_settings
from tests.support.pairs import wait_until


@pytest.fixture(autouse=True)
def _read_again() -> Iterator[None]:
    """The cached instance is shared by all tests: put the same one back."""
    cached = get_settings()
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()
    fresh = get_settings()
    for name in Settings.model_fields:
        setattr(fresh, name, getattr(cached, name))


@pytest.fixture
def env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(config, "REPO_DIR", tmp_path)
    monkeypatch.setattr(config, "BACKEND_DIR", tmp_path / "backend")
    (tmp_path / "backend").mkdir()
    return tmp_path / "backend" / ".env"


def test_a_test_run_has_its_own_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ST_DATABASE_URL", "postgresql://real/one")
    monkeypatch.setenv("ST_ADMIN_USERNAME", "boss")
    settings = get_settings()
    assert settings.database_url.endswith("sigma_trader_test.db")
    assert settings.admin_username is None
    assert settings.crypto_key


def test_a_test_run_may_name_its_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ST_TEST_DATABASE_URL", "postgresql+psycopg://test/one")
    assert get_settings().database_url == "postgresql+psycopg://test/one"


def test_sources_from_strong_to_weak(monkeypatch: pytest.MonkeyPatch, env_file: Path) -> None:
    monkeypatch.setattr(config, "running_under_pytest", lambda: False)
    env_file.parent.parent.joinpath(".env").write_text("ST_APP_NAME=weak\nST_VERSION=9\nst_debug=false\n")
    env_file.write_text("ST_APP_NAME=middle\nST_ENVIRONMENT=prod\nST_UNKNOWN=1\n", encoding="utf-8")
    monkeypatch.setenv("ST_ENVIRONMENT", "stage")
    settings = get_settings()
    assert (settings.app_name, settings.version, settings.environment) == ("middle", "9", "stage")
    assert settings.debug is False


def test_an_empty_variable_cancels_the_file(monkeypatch: pytest.MonkeyPatch, env_file: Path) -> None:
    monkeypatch.setattr(config, "running_under_pytest", lambda: False)
    env_file.write_text(
        "ST_CRYPTO_KEY=from-file\nST_TRADINGVIEW_WEBHOOK_SECRET=from-file\n", encoding="utf-8"
    )
    monkeypatch.setenv("ST_CRYPTO_KEY", "  ")
    settings = get_settings()
    assert settings.crypto_key is None
    assert settings.tradingview_webhook_secret == "from-file"


@pytest.mark.parametrize(("text", "value"), [("yes", True), ("ON", True), ("0", False), ("maybe", False)])
def test_risk_engine_flag_is_truthy_text(monkeypatch: pytest.MonkeyPatch, text: str, value: bool) -> None:
    monkeypatch.setenv("ST_RISK_ENGINE_V2_ENABLED", text)
    assert get_settings().risk_engine_v2_enabled is value


def test_config_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ST_CONFIG_DIR", str(tmp_path))
    load_holidays.cache_clear()
    with pytest.raises(RuntimeError):
        load_app_config()
    assert (supported_brokers(), load_zerodha_symbol_map(), load_holidays()) == (["zerodha"], {}, frozenset())
    (tmp_path / "config.json").write_text('{"brokers": ["Zerodha", "angelone"]}')
    (tmp_path / "zerodha_symbol_map.json").write_text('{"nse": {"abc": "ABC-EQ"}}')
    (tmp_path / "indian_holidays.json").write_text('["2026-01-26"]')
    load_holidays.cache_clear()
    wait_until(lambda: supported_brokers() == ["zerodha", "angelone"])
    wait_until(lambda: load_zerodha_symbol_map() == {"NSE": {"ABC": "ABC-EQ"}})
    assert load_holidays() == {"2026-01-26"}
    load_holidays.cache_clear()


def test_the_shipped_config_files_are_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ST_CONFIG_DIR", raising=False)
    load_holidays.cache_clear()
    assert "zerodha" in load_app_config().brokers
    assert load_zerodha_symbol_map() == {"NSE": {"SCHNEIDER": "SCHNEIDER-EQ"}}
    assert "2026-01-26" in load_holidays()
