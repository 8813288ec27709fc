"""Reads a webhook body that was sent as text: JSON, JSON with the usual slips, or key=value pairs.

Alert texts are templates filled in by TradingView, so trailing commas and thousands separators in
unquoted numbers are common. A repair is tried only when the text as sent does not parse. It leaves quoted
texts and lists as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import parse_qsl

from app.core.text_rules import (
    TOO_DEEP,
    UNSTORABLE_TEXT,
    all_storable,
    escapes_are_storable,
    is_too_deep,
)
from app.schemas.webhook_shapes import BY_THOUSANDS

PREVIEW_CHARS: Final = 500
# Quoted texts, also one that never ends, and a run of commas are taken as a whole, whatever follows: tried from each
# of their characters, a long one would take for ever.
_QUOTED = r'(?:"(?:[^"\\]|\\.)*+"?[^",:]*+)++'
_COMMAS = re.compile(rf"{_QUOTED}|,[,\s]*+(?P<end>[}}\]])?", re.DOTALL)
_GROUPED_MEMBER = re.compile(rf"{_QUOTED}|(?P<number>:\s*+-?(?>{BY_THOUSANDS})(?!,?[0-9]))", re.DOTALL)
# The value ends at its closing quote, or with the text when the preview was cut inside of it.
_SENSITIVE_QUOTED = re.compile(
    r"""(["'](?:secret|st_user_id)["']\s*:\s*)(?:"(?:[^"\\]|\\.)*(?:"|\\?\Z)|'(?:[^'\\]|\\.)*(?:'|\\?\Z))""",
    re.IGNORECASE | re.DOTALL,
)
_SENSITIVE_BARE = re.compile(r"""(["']?\bsecret["']?\s*[:=]\s*)(?!["'])([^\s,;&"'{}\[\]]+)""", re.IGNORECASE)


class InvalidBody(ValueError):
    """The text is neither JSON nor key=value pairs."""


class RefusedBody(ValueError):
    """The text parses but holds something that cannot be accepted; the message says what."""


def parse_text_body(text: str) -> dict[str, Any]:
    """The object in a text body; a blank text is an empty object.

    Raises InvalidBody when nothing parses, RefusedBody for JSON that is not an object, is nested too
    deep or holds text that cannot be stored.
    """
    trimmed = text.strip()
    if not trimmed:
        return {}
    encoded = trimmed.encode("utf-8", errors="surrogatepass")
    if is_too_deep(encoded):
        raise RefusedBody(TOO_DEEP)
    value = _parse_json(trimmed)
    if value is None:
        value = dict(parse_qsl(trimmed))
        if not value:
            raise InvalidBody
    if not isinstance(value, dict):
        raise RefusedBody("Invalid TradingView payload. Body must be a JSON object.")
    if not escapes_are_storable(encoded) or not all_storable(value):
        raise RefusedBody(UNSTORABLE_TEXT)
    return value


def body_preview(text: str) -> str:
    """The first characters of a body for the event log, without the values of secret and user."""
    preview = _SENSITIVE_QUOTED.sub(r'\1"***"', text[:PREVIEW_CHARS])
    return _SENSITIVE_BARE.sub(r"\1***", preview)


def _parse_json(text: str) -> Any:
    """The parsed value of the first variant that is JSON, None when there is none."""
    for variant in _variants(text):
        try:
            value = json.loads(variant)
        except ValueError:
            continue
        if value is not None:
            return value
    return None


def _variants(text: str) -> Iterator[str]:
    yield text
    yield _drop_trailing_commas(text)
    ungrouped = _drop_thousands_commas(text)
    if ungrouped != text:
        yield ungrouped
        yield _drop_trailing_commas(ungrouped)


def _drop_trailing_commas(text: str) -> str:
    return _COMMAS.sub(lambda found: found["end"] or found[0], text)


def _drop_thousands_commas(text: str) -> str:
    """Only in the value of a member: between the items of a list a comma separates numbers."""
    return _GROUPED_MEMBER.sub(lambda found: (found["number"] or "").replace(",", "") or found[0], text)
