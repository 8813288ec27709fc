"""Fixtures of the schema tests: an empty database on either side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.db.ddl import install_portable_defaults

install_portable_defaults()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, once per side."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    return str(request.getfixturevalue("pg_url"))


@pytest.fixture(scope="session")
def recorded(facts: Path) -> list[dict[str, Any]]:
    """What is on record about each revision, in upgrade order."""
    return json.loads((facts / "revisions.json").read_text())["revisions"]
