"""What a chain's env.py and alembic.ini do by themselves, whoever starts Alembic in that checkout.

`app.db.revisions` runs a chain without executing env.py. The application or a person may still call Alembic.
Then the application's own env.py changes one side of a pair only. It takes the URL of alembic.ini, and makes
columns on PostgreSQL as narrow as they are declared.
"""

from __future__ import annotations

import configparser
from dataclasses import dataclass
from pathlib import Path

_SNIPPET = (
    "let env.py be `from app.db.base import Base; from app.db.revisions.chain import run_environment; "
    "import app.models; run_environment(Base.metadata)`, or migrate by st-migrate schema upgrade only"
)
_ASKS_FOR_THE_URL = ("app.db.revisions", "get_settings", "ST_DATABASE_URL", "database_url")


@dataclass(frozen=True)
class Habit:
    """One thing that Alembic would do there: `code` is that of preflight, `rule` that of lint."""

    code: str
    rule: str
    file: Path
    reason: str
    remedy: str


def habits(environment: Path) -> list[Habit]:
    """What the env.py at a path does on its own account. Nothing if it is not there."""
    if not environment.is_file():
        return []
    text = environment.read_text(encoding="utf-8")
    found = []
    if "app.db.revisions" not in text:
        found.append(
            Habit(
                "chain.environment",
                "chain-environment",
                environment,
                "env.py runs the chain by itself. On a pair it changes one side only, and its tables lose capture. "
                "On PostgreSQL the limits of String and Integer come back",
                _SNIPPET,
            )
        )
    if _ini_url(environment) and not any(word in text for word in _ASKS_FOR_THE_URL):
        found.append(
            Habit(
                "chain.url",
                "chain-url",
                environment,
                "alembic upgrade head migrates the database that alembic.ini names, whatever ST_DATABASE_URL says. "
                "With PostgreSQL as primary it silently makes or changes a SQLite file",
                _SNIPPET,
            )
        )
    return found


def _ini_url(environment: Path) -> str:
    """`sqlalchemy.url` of the alembic.ini beside the folder of env.py, or in it."""
    for folder in (environment.parent.parent, environment.parent):
        file = folder / "alembic.ini"
        if file.is_file():
            parser = configparser.RawConfigParser()
            parser.read(file, encoding="utf-8")
            return parser.get("alembic", "sqlalchemy.url", fallback="").strip()
    return ""
