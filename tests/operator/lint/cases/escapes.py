"""Escapes: on the line, on the line before, without a reason, and without anything to allow."""

from sqlalchemy import text
from sqlalchemy.orm import Session


def run(db: Session) -> None:
    db.execute(text("PRAGMA optimize"))  # st-lint: allow pragma - runs on SQLite only
    # st-lint: allow pragma - runs on SQLite only
    db.execute(text("PRAGMA optimize"))
    db.execute(text("VACUUM"))  # st-lint: allow glob - the wrong rule # expect: unused-escape
    db.execute(
        text("PRAGMA optimize"), {"name": "so long that a formatter puts the comment after the parenthesis"}
    )  # st-lint: allow pragma - runs on SQLite only
    db.execute(text("PRAGMA optimize"))  # st-lint: allow pragma # expect: bare-escape
    db.execute(text("SELECT 1"))  # st-lint: allow pragma - nothing here needs it # expect: unused-escape
    db.execute(
        text(
            """
            SELECT strftime('%Y', at)
            FROM t
            """  # st-lint: allow sqlite-function - on the last line of the text
        )
    )
