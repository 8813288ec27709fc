"""Moves an application's live database from SQLite to PostgreSQL, and back. The command line is `st-migrate`.

In a checkout this package only points at `app.db` and `migration`. The wheel has copies of both inside, as `db`
and `tool`, so that it takes no name that an application may have, `app` above all.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("st-migrate")
except PackageNotFoundError:  # the folders were copied and not installed
    __version__ = "0"
