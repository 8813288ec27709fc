"""Which text both databases can hold, checked before anything is parsed into rows.

PostgreSQL refuses NUL characters and neither side can encode an unpaired surrogate, while SQLite would
take the first silently. Refusing both at the door keeps the answers the same on either side.
"""

from __future__ import annotations

import re
from typing import Any, Final

UNSTORABLE_TEXT: Final = "Text must not contain NUL characters or unpaired surrogates."
MAX_JSON_DEPTH: Final = 64
TOO_DEEP: Final = f"JSON must not be nested deeper than {MAX_JSON_DEPTH} levels."

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# Left to right over every escape, so that an escaped backslash never starts another escape.
_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
# A string without an end goes to the end of the body: looked for again behind each quote, it would take for ever.
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)


def is_storable(text: str) -> bool:
    """False when the text holds a NUL character or a surrogate."""
    return _UNSTORABLE.search(text) is None


def all_storable(value: Any) -> bool:
    """`is_storable` over every text in a parsed JSON value, member names included."""
    if isinstance(value, str):
        return is_storable(value)
    if isinstance(value, dict):
        return all(is_storable(str(key)) and all_storable(member) for key, member in value.items())
    if isinstance(value, list):
        return all(all_storable(member) for member in value)
    return True


def escapes_are_storable(body: bytes) -> bool:
    """False when a JSON escape in the body spells a NUL or an unpaired surrogate, or a raw NUL is there."""
    if b"\x00" in body:
        return False
    if b"\\u" not in body:
        return True
    expected_low_at = -1  # position at which a low surrogate has to follow
    for match in _ESCAPE.finditer(body):
        code = int(match[1], 16) if match[1] else -1
        is_low = 0xDC00 <= code <= 0xDFFF
        low_is_due = expected_low_at != -1
        if code == 0 or is_low != low_is_due or (low_is_due and match.start() != expected_low_at):
            return False
        expected_low_at = match.end() if 0xD800 <= code <= 0xDBFF else -1
    return expected_low_at == -1


def is_too_deep(body: bytes) -> bool:
    """Whether JSON arrays and objects are nested deeper than `MAX_JSON_DEPTH`."""
    if body.count(b"[") + body.count(b"{") <= MAX_JSON_DEPTH:
        return False
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(body):
        if match[0] in (b"[", b"{"):
            depth += 1
            if depth > MAX_JSON_DEPTH:
                return True
        elif match[0] in (b"]", b"}"):
            depth -= 1
    return False
