"""The JSON files of the config folder: brokers, symbol map, market holidays.

Brokers and symbol map are asked for by every webhook delivery. A file is parsed again as soon as its path,
inode, size or time of change differs, so an edit counts from the next request on, in every process.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from app.core.config import BACKEND_DIR


class AppConfig(BaseModel):
    """Content of config.json."""

    brokers: list[str] = ["zerodha"]
    default_broker: str = "zerodha"


_DEFAULT_FOLDER = str(BACKEND_DIR / "config")


def get_config_dir() -> Path:
    """ST_CONFIG_DIR, read on every call, else `backend/config`."""
    return Path(_config_folder())


def _config_folder() -> str:
    return os.environ.get("ST_CONFIG_DIR", "").strip() or _DEFAULT_FOLDER


def _read_json(name: str) -> Any:
    return json.loads((get_config_dir() / name).read_text(encoding="utf-8"))


Value = TypeVar("Value")
_State = tuple[str, int, int, int]


class _Kept(Generic[Value]):
    """What a file of the config folder says, kept for as long as the file stays the same.

    Args:
        name: the file's name.
        parse: makes the value from its JSON; what it raises is raised again on every call.
    """

    def __init__(self, name: str, parse: Callable[[Any], Value]) -> None:
        self._name = name
        self._parse = parse
        self._kept: tuple[_State, Value] | None = None

    def get(self) -> Value:
        """The value; OSError without the file, ValueError when it is not JSON."""
        state = self._state()
        kept = self._kept
        if kept is None or kept[0] != state:
            kept = self._kept = (state, self._parse(_read_json(self._name)))
        return kept[1]

    def _state(self) -> _State:
        path = os.path.join(_config_folder(), self._name)  # noqa: PTH118 - a Path costs more than the look
        found = os.stat(path)  # noqa: PTH116 - likewise
        return path, found.st_ino, found.st_size, found.st_mtime_ns


def load_app_config() -> AppConfig:
    """Content of config.json; RuntimeError when the file is missing or invalid."""
    try:
        return _app_config.get()
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
        return _symbol_map.get()
    except FileNotFoundError:
        return {}


def _with_upper_keys(raw: Any) -> dict[str, dict[str, str]]:
    if not isinstance(raw, dict) or not all(isinstance(inner, dict) for inner in raw.values()):
        raise ValueError("zerodha_symbol_map.json must map exchanges to objects")
    return {
        exchange.upper(): {symbol.upper(): str(target) for symbol, target in inner.items()}
        for exchange, inner in raw.items()
    }


_app_config = _Kept("config.json", AppConfig.model_validate)
_symbol_map = _Kept("zerodha_symbol_map.json", _with_upper_keys)


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
