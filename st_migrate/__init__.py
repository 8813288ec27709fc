"""Moves an application's live database from SQLite to PostgreSQL, and back.

The command line is `st-migrate`. An application on SQLAlchemy may have its sessions follow the switch in its own
process, by one line: `from st_migrate import install; install(SessionLocal)`.

In a checkout this package only points at `app.db` and `migration`. The wheel has copies of both inside, as `db`
and `tool`, so that it takes no name that an application may have, `app` above all.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.db.session.application.install import install as install

    __version__: str

__all__ = ["__version__", "install"]


def __getattr__(name: str) -> Any:
    """`install` and `__version__`, on first use: the command line does without them."""
    if name == "install":
        return import_module(f"{__name__}.sessions").install
    if name == "__version__":
        metadata = import_module("importlib.metadata")
        try:
            return metadata.version("st-migrate")
        except metadata.PackageNotFoundError:  # the folders were copied and not installed
            return "0"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
