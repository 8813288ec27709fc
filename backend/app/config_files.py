"""The JSON files of the config folder: brokers, symbol map, market holidays."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from app.core.config import BACKEND_DIR


class AppConfig(BaseModel):
    """Content of config.json."""

    brokers: list[str] = ["zerodha"]
    default_broker: str = "zerodha"


def get_config_dir() -> Path:
    """ST_CONFIG_DIR, read on every call, else `backend/config`."""
    override = os.environ.get("ST_CONFIG_DIR", "").strip()
    return Path(override) if override else BACKEND_DIR / "config"


def _read_json(name: str) -> Any:
    return json.loads((get_config_dir() / name).read_text(encoding="utf-8"))


def load_app_config() -> AppConfig:
    """Content of config.json; RuntimeError when the file is missing or invalid."""
    try:
        return AppConfig.model_validate(_read_json("config.json"))
    except (OSError, ValueError, ValidationError) as error:
        raise RuntimeError(f"config.json in {get_config_dir()} cannot be used: {error}") from error


def supported_brokers() -> list[str]:
    """Broker names of config.json in lower case; only zerodha without a usable file."""
    try:
        names = load_app_config().brokers
    except RuntimeError:
        names = ["zerodha"]
    return [name.strip().lower() for name in names]


def load_zerodha_symbol_map() -> dict[str, dict[str, str]]:
    """{EXCHANGE: {SYMBOL: broker symbol}} with upper-case keys; empty when the file is missing.

    Raises ValueError when the file is not a JSON object of objects.
    """
    try:
        raw = _read_json("zerodha_symbol_map.json")
    except FileNotFoundError:
        return {}
    if not isinstance(raw, dict) or not all(isinstance(inner, dict) for inner in raw.values()):
        raise ValueError("zerodha_symbol_map.json must map exchanges to objects")
    return {
        exchange.upper(): {symbol.upper(): str(target) for symbol, target in inner.items()}
        for exchange, inner in raw.items()
    }


@lru_cache
def load_holidays() -> frozenset[str]:
    """ISO dates on which the market is closed; none when the file is missing or broken.

    Read once per process: `load_holidays.cache_clear()` reads the file again.
    """
    try:
        raw = _read_json("indian_holidays.json")
    except (OSError, ValueError):
        return frozenset()
    return frozenset(str(day) for day in raw) if isinstance(raw, (dict, list)) else frozenset()
