"""Values as people and records see them: what they are, and every byte of them."""

from __future__ import annotations

import math
from typing import Any


def describe(value: object) -> str:
    """A value as it is shown to the operator: its storage class and the start of its text."""
    kind = {int: "integer", float: "real", str: "text", bytes: "blob"}.get(type(value), type(value).__name__)
    text = repr(value)
    return f"{kind} {text if len(text) <= 60 else text[:57] + '...'}"


def refusal(wanted: str, value: object) -> ValueError:
    """What is raised for a value that is none of a kind, `wanted` with its article."""
    return ValueError(f"{describe(value)} in {wanted} column")


def storage(value: Any) -> Any:
    """A value in JSON such that its storage class and exact bytes can be read back.

    Integers, floats and None stay themselves. Text becomes {"text": ...}, or {"text_hex": ...} where it is
    not valid UTF-8 or holds a NUL. A blob becomes {"blob_hex": ...}.
    """
    if isinstance(value, str):
        raw = value.encode("utf-8", "surrogateescape")
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError:
            return {"text_hex": raw.hex()}
        return {"text_hex": raw.hex()} if "\x00" in value else {"text": value}
    if isinstance(value, bytes):
        return {"blob_hex": value.hex()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"real": repr(value)}
    return value
