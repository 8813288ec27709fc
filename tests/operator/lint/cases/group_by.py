"""Columns that are selected, but neither grouped nor aggregated."""

from sqlalchemy import text
from sqlalchemy.orm import Session


def run(db: Session) -> None:
    db.execute(text("SELECT a, b, count(*) FROM t GROUP BY a"))  # expect: group-by
    db.execute(text("SELECT * FROM t GROUP BY a"))  # expect: group-by
    db.execute(text("SELECT a AS x, max(b) FROM t GROUP BY x HAVING count(*) > 1"))
    db.execute(text("SELECT a, upper(b), 1, 'x' FROM t GROUP BY 1, upper(b)"))
    db.execute(text("SELECT t.id, t.a, sum(u.b) FROM t JOIN u ON u.t_id = t.id GROUP BY t.id"))
    db.execute(text("SELECT a, coalesce(sum(b), 0) AS total FROM t GROUP BY a ORDER BY a LIMIT 3"))
