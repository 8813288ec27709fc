"""The application's Alembic chain as what makes the tables on PostgreSQL, and what its errors mean."""

from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING, Any

import psycopg
import sqlalchemy as sa
from psycopg import errors as pg_errors
from sqlalchemy.exc import DBAPIError

from app.db.common.errors import Refused
from app.db.revisions.chain import alembic_config, upgrade_head, upgrade_on
from app.db.revisions.ddl import normalise_postgres
from app.db.revisions.source.contract import Failed
from app.db.rows.catalog import quote

if TYPE_CHECKING:
    from alembic.config import Config

_VERSIONS = "SELECT version_num FROM alembic_version ORDER BY version_num"


_TABLE = re.compile(
    r'\b(?:TABLE|INTO|UPDATE|FROM|ON)\s+(?:IF\s+(?:NOT\s+)?EXISTS\s+|ONLY\s+)?(?:"?st_trial_\w+"?\.)?"?([^\s"(;.]+)',
    re.I,
)
_COLUMN = re.compile(r'\b(?:column|COLUMN)\s+"?([^\s",]+)')
_OTHERWISE = "make the revision run on PostgreSQL as well; st-migrate lint names what only SQLite takes"
# What to do about an error of a revision, by SQLSTATE.
_REMEDIES = {
    "0A000": "drop the view before the column changes, or make it in a revision of its own, with the column as Text",
    "42P07": "index and unique constraint names are one namespace on PostgreSQL: give each a name of its own",
    "42804": "give both columns one type: PostgreSQL compares no text with a number and takes no number for a Boolean",
}
_NOT_HERE = (
    "42704",
    "42883",
    "3F000",
)  # what may stand in another schema: an extension's types and functions


def describe(revision: str, error: DBAPIError) -> Failed:
    """What a driver's error in a revision means."""
    diagnosis = getattr(error.orig, "diag", None)
    message = (diagnosis and diagnosis.message_primary) or str(error.orig).splitlines()[0]
    detail = diagnosis and diagnosis.message_detail
    code = (diagnosis and diagnosis.sqlstate) or ""
    table = _TABLE.search(error.statement or "")
    column = _COLUMN.search(f"{message} {detail or ''}") or _COLUMN.search(error.statement or "")
    return Failed(
        revision,
        (diagnosis and diagnosis.table_name) or (table.group(1) if table else ""),
        (diagnosis and diagnosis.column_name) or (column.group(1) if column else ""),
        message + (f" ({detail})" if detail else ""),
        _REMEDIES.get(code, _OTHERWISE),
        code not in _NOT_HERE,
    )


class Alembic:
    """The application's Alembic chain.

    Args:
        config: another chain than the backend's.
        revision: where the chain is to stop.
    """

    name = "alembic"
    installed = False

    def __init__(self, config: Config | None = None, revision: str = "head") -> None:
        self._config = config
        self._revision = revision

    def require_ready(self, sqlite: sqlite3.Connection) -> None:
        from alembic.script import ScriptDirectory
        from alembic.util import CommandError

        try:
            scripts = ScriptDirectory.from_config(self._config or alembic_config("sqlite://"))
            heads = scripts.get_heads()
        except CommandError as error:
            raise Refused(
                f"the chain cannot be read: {error}", hint="mend the chain", codes=("alembic.chain",)
            ) from None
        if self._revision == "head" and len(heads) != 1:
            raise Refused(
                f"the chain has {len(heads)} heads",
                hint="merge them with alembic merge",
                codes=("alembic.heads",),
            )
        wanted = heads[0] if self._revision == "head" else self._revision
        try:
            row = sqlite.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            row = None
        found = row[0] if row else None
        if found != wanted:
            other = "" if found else "; or, if another application made this file, say --schema existing"
            raise Refused(
                f"the SQLite file is at revision {found or 'none'}, the code at {wanted}",
                hint=f"run st-migrate schema upgrade first{other}",
                codes=("alembic.revision",),
            )

    def make_tables(self, postgres: sa.URL) -> None:
        begun: list[str] = []
        url = postgres.render_as_string(hide_password=False)
        try:
            upgrade_head(url, self._revision, config=self._config, begun=begun.append)
            widen(postgres)
        except DBAPIError as error:
            if error.connection_invalidated or not begun:
                raise
            failed = describe(begun[-1], error)
            place = ".".join(filter(None, (failed.table, failed.column)))
            raise Refused(
                failed.text,
                hint=f"{place}: {failed.remedy}" if place else failed.remedy,
                codes=("alembic.trial",),
            ) from error

    def try_tables(self, connection: sa.Connection) -> Failed | None:
        begun: list[str] = []
        try:
            upgrade_on(connection, self._revision, config=self._config, begun=begun.append)
        except DBAPIError as error:
            return describe(begun[-1] if begun else "none", error)
        return None

    def versions(self, sqlite: sqlite3.Connection, postgres: psycopg.Connection[Any]) -> tuple[str, str]:
        ours = [row[0] for row in sqlite.execute(_VERSIONS)]
        theirs = [row[0] for row in postgres.execute(_VERSIONS)]
        return ", ".join(ours) or "none", ", ".join(theirs) or "none"


_VIEWS_OVER_TABLES = """
SELECT DISTINCT v.relname, t.relname FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
JOIN pg_class v ON v.oid = r.ev_class JOIN pg_class t ON t.oid = d.refobjid
WHERE d.classid = 'pg_rewrite'::regclass AND t.relkind IN ('r', 'p') AND v.oid <> t.oid
AND t.relnamespace = current_schema()::regnamespace ORDER BY 1, 2
"""


def _views(engine: sa.Engine) -> list[tuple[str, str]]:
    with engine.connect() as connection:
        return [(view, table) for view, table in connection.exec_driver_sql(_VIEWS_OVER_TABLES)]


def widen(postgres: sa.URL) -> None:
    """Have the tables of a database accept everything that SQLite accepts, whoever made them.

    Raises:
        Refused: a view stands on a column that has to be widened. Nothing was changed.
    """
    engine = sa.create_engine(postgres, connect_args={"prepare_threshold": None})  # poolers lose them
    try:
        with engine.begin() as connection:
            normalise_postgres(connection)
    except DBAPIError as error:
        stands = (pg_errors.FeatureNotSupported, pg_errors.DependentObjectsStillExist)
        if isinstance(error.orig, stands) and (found := _views(engine)):
            view, table = found[0]
            raise Refused(
                f"view {view} stands on {table}, whose columns have to be widened",
                hint=f"DROP VIEW {quote(view)} on PostgreSQL, and make it again after prepare",
                codes=("schema.view",),
            ) from error
        raise
    finally:
        engine.dispose()
