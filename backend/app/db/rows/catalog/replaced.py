"""By what REPLACE finds a row of SQLite in its way that no value of its statement names.

It puts the default in the place of a NULL that a column does not take. And a table whose key is no alias of the
rowid has the rowid as one more unique key.
"""

from __future__ import annotations

import re
import sqlite3

from app.db.rows.catalog.indexes import bracketed
from app.db.rows.catalog.tables import Replaced, literal, quote

_ROWIDS = ("rowid", "_rowid_", "oid")
_NAME = re.compile(r"""[^\W\d]\w*|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^]]*\]""")
_VALUES = ("NULL", "TRUE", "FALSE", "CURRENT_TIME", "CURRENT_DATE", "CURRENT_TIMESTAMP")


def replaced_on_sqlite(connection: sqlite3.Connection, table: str) -> Replaced:
    """What there is of this in a table."""
    listed = connection.execute(f"PRAGMA table_xinfo({quote(table)})").fetchall()
    defaults = {name: _as_value(text) for _, name, _, required, text, *_ in listed if required and text}
    return Replaced(tuple(defaults.items()), _rowids(connection, table, {row[1].lower() for row in listed}))


def _as_value(default: str) -> str:
    """A default as an expression: SQLite takes a bare or quoted name in it for a text."""
    if not _NAME.fullmatch(default) or default.upper() in _VALUES:
        return bracketed(default)
    if (mark := default[0]) in '"`[':
        default = default[1:-1].replace(mark * 2, mark)
    return literal(default)


def _rowids(connection: sqlite3.Connection, table: str, columns: set[str]) -> tuple[str, ...]:
    indexes = connection.execute(f"PRAGMA index_list({quote(table)})").fetchall()
    key = connection.execute("SELECT count(*) FROM pragma_table_info(?) WHERE pk", (table,)).fetchone()
    if key != (0,) and all(origin != "pk" for _, _, _, origin, _ in indexes):
        return ()  # a primary key without an index is the rowid
    names = tuple(name for name in _ROWIDS if name not in columns)
    try:
        connection.execute(f"SELECT {', '.join(names) or 'NULL'} FROM {quote(table)} LIMIT 0")
    except sqlite3.OperationalError as error:
        if "no such column" not in str(error):
            raise
        return ()  # WITHOUT ROWID
    return names
