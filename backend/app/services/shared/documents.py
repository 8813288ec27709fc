"""Members of JSON documents that are kept as text, on either database and with or without the native branch."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, String, case, cast, func, literal_column, select
from sqlalchemy.orm import Session


def number_in(db: Session, column: Any, name: str) -> ColumnElement[str | None]:
    """The digits of a whole number that is a member of the documents in a column; NULL where there is none.

    Args:
        name: the member, of ASCII letters and underscores.
    """
    assert name.isidentifier()
    if db.connection().dialect.name == "sqlite":
        # st-lint: allow sqlite-function - this branch is SQLite's
        member = cast(func.json_extract(column, f"$.{name}"), String)
        # st-lint: allow sqlite-function - this branch is SQLite's
        return case((func.json_valid(column) == 1, member))
    if db.scalar(select(func.to_regprocedure("native_document(text)"))) is not None:
        # As the index of the native branch spells it.
        document: Any = func.native_document(column).op("->>", return_type=String())
        return func.left(document(literal_column(f"'{name}'")), literal_column("20"), type_=String())
    # As the index of deploy/postgres/indexes.sql spells it; what has more digits is no number of ours.
    digits = literal_column(f"""'"{name}": ?([0-9]{{1,20}})[,}}]'""")
    return func.substring(column, digits, type_=String())
