"""The JSON files of the config folder: brokers, symbol map, market holidays.

Brokers and symbol map are asked for by every webhook delivery. A file is parsed again when its path, inode,
size or time of change differs. A file is looked at every `LOOK_AGAIN_S`, so an edit counts that soon in every process.
"""

from __future__ import annotations

import json
import os
import time
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
_State = tuple[int, int, int]
LOOK_AGAIN_S = 0.1  # a burst asks some thousand times in that time


class _Kept(Generic[Value]):
    """What a file of the config folder says, kept for as long as the file stays the same.

    Args:
        name: the file's name.
        parse: makes the value from its JSON; what it raises is raised again on every call.
    """

    def __init__(self, name: str, parse: Callable[[Any], Value]) -> None:
        self._name = name
        self._parse = parse
        self._kept: tuple[str, _State, Value] | None = None
        self._looked: tuple[str, float] = ("", 0.0)  # the folder, and when

    def get(self) -> Value:
        """The value; FileNotFoundError without the file, ValueError when it is not JSON."""
        folder, now = _config_folder(), time.monotonic()
        path, looked = self._looked
        if path != folder or not now - looked < LOOK_AGAIN_S:
            self._look(folder)
            self._looked = folder, now
        kept = self._kept
        if kept is None:
            raise FileNotFoundError(f"{self._name} is not in {folder}")
        return kept[2]

    def _look(self, folder: str) -> None:
        try:
            found = os.stat(f"{folder}/{self._name}")  # noqa: PTH116 - a Path costs more than the look
        except FileNotFoundError:
            self._kept = None
            return
        state = found.st_ino, found.st_size, found.st_mtime_ns
        if self._kept is None or self._kept[:2] != (folder, state):
            self._kept = folder, state, self._parse(_read_json(self._name))


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
