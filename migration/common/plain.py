"""How text and values are shown: exactly, and whatever they hold, without an effect on the terminal.

What is shown may come from a database. So a character that a terminal would obey, hide or reorder is written
as an escape. A stored number is never shortened. Characters that the terminal's encoding lacks become escapes
too, so that no output depends on the locale. And no work depends on whether somebody reads. A pipe that was
closed or a full disk takes the output, and nothing else.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO, cast

from app.db.common.errors import counted as counted


def plain(text: str) -> str:
    """A text on one line in which every character that has no picture of its own is an escape."""
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def any_encoding(stream: TextIO) -> None:
    """Have a stream write escapes for what its encoding lacks, where it would raise an error."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


class Lasting:
    """A text stream whose end may be gone: what cannot be written is dropped, and `lost` says why."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        """As the stream does. Raises nothing of the system's."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._lose(error)
            return len(text)

    def flush(self) -> None:
        """As the stream does. Raises nothing of the system's."""
        try:
            self._stream.flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        self.lost = self.lost or error
        with suppress(OSError), Path(os.devnull).open("w") as nowhere:  # for what is buffered, too
            os.dup2(nowhere.fileno(), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def lasting_output() -> Iterator[None]:
    """Have stdout and stderr of this process be `Lasting` for the duration of a block."""
    before = sys.stdout, sys.stderr
    for stream in before:
        any_encoding(stream)
    sys.stdout, sys.stderr = cast(TextIO, Lasting(before[0])), cast(TextIO, Lasting(before[1]))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def argument(text: str) -> str:
    """A word of the command line as UTF-8, whatever the locale made of its bytes."""
    try:
        return os.fsencode(text).decode()
    except UnicodeError:
        return text


def stored(value: Any) -> str:
    """One value of a row in quarantine, with its storage class visible and nothing rounded.

    Args:
        value: as `app.db.rows.refused.storage` writes it.
    """
    match value:
        case None:
            return "NULL"
        case {"text": str(text)}:
            return plain(json.dumps(text, ensure_ascii=False))
        case {"text_hex": digits}:
            return f"text X'{digits}'"
        case {"blob_hex": digits}:
            return f"X'{digits}'"
        case {"real": real}:
            return str(real)
        case _:
            return plain(repr(value))


def label(name: str) -> str:
    """The name of a field as people read it."""
    return plain(name.replace("_", " "))


def measured(name: str, value: Any) -> str:
    """A field of an outcome: times as people read them, yes and no for Booleans, fractions to three digits."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if name.endswith("at") and value > 1e9:
            return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, Mapping):
        return inline(value)
    return plain(str(value))


def inline(value: Mapping[str, Any]) -> str:
    """An object as part of a line; lists in it are left to --json."""
    parts = []
    for name, item in value.items():
        if isinstance(item, Mapping):
            parts.append(f"{label(name)} ({inline(item)})")
        elif item is not None and not isinstance(item, list):
            parts.append(f"{label(name)} {measured(name, item)}")
    return ", ".join(parts)
