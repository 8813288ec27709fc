"""Named SQL blocks kept in .sql files: `-- name: block`, then a purpose line, then the SQL."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def blocks(filename: str) -> dict[str, str]:
    """All blocks of one file of this folder, by name."""
    text = files(__package__).joinpath(filename).read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for part in text.split("-- name: ")[1:]:
        name, _, body = part.partition("\n")
        found[name.strip()] = body.strip()
    return found
