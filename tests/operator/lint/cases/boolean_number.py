"""0 and 1 for Boolean columns, where no type converts them."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

flags = sa.Table(
    "flags",
    sa.MetaData(),
    sa.Column("id", sa.BigInteger),
    sa.Column("active", sa.Boolean),
    sa.Column("hidden", sa.Boolean),
    sa.Column("both_kinds", sa.Boolean),
)
others = sa.Table("others", sa.MetaData(), sa.Column("both_kinds", sa.BigInteger))


def run(db: Session, old: bool) -> None:
    db.execute(sa.text("UPDATE flags SET active = 0 WHERE id = 1"))  # expect: boolean-number
    db.execute(sa.text("SELECT id FROM flags WHERE hidden = 1 AND id = 1"))  # expect: boolean-number
    db.execute(sa.text("SELECT id FROM flags f WHERE f.hidden != 1"))  # expect: boolean-number
    db.execute(sa.text("SELECT id FROM flags WHERE hidden = 2"))  # expect: boolean-number
    db.execute(sa.text("SELECT id FROM flags WHERE hidden IS 0"))  # expect: boolean-number
    two = sa.text("INSERT INTO flags (active) VALUES (1), (0)")  # expect: boolean-number, boolean-number
    db.execute(two)
    db.execute(sa.text("INSERT INTO flags (id, active) SELECT id, 1 FROM flags"))  # expect: boolean-number
    insert, update = "INSERT INTO flags (active) VALUES (:active)", "UPDATE flags SET active = :active"
    db.execute(sa.text(insert), {"active": 1})  # expect: boolean-number
    value = {"id": 1}
    db.execute(sa.text(update), value | {"active": 1 if old else 0})  # expect: boolean-number, boolean-number
    db.execute(sa.text("UPDATE flags SET active = :active"), {"active": True})
    db.execute(sa.text("UPDATE flags SET active = true WHERE both_kinds = 1"))  # expect: boolean-number
    db.execute(sa.text("SELECT 1 FROM flags, others WHERE both_kinds = 1"))
    one = "INSERT INTO flags (id, active) VALUES (:id, :flag)"
    db.execute(sa.text(one), {"id": 1, "flag": 1})  # expect: boolean-number
    db.execute(sa.text(one), {"id": 1, "flag": True})
    rows = [{"id": 1, "flag": 0}, {"id": 0, "flag": False}]  # expect: boolean-number
    db.execute(sa.text(one), rows)
    by_name = sa.text("UPDATE flags SET hidden = :x WHERE id = :y")
    db.execute(by_name.bindparams(x=0, y=1))  # expect: boolean-number
    by_place = "INSERT INTO flags (id, active) VALUES (?, ?)"
    db.connection().exec_driver_sql(by_place, (1, 1))  # expect: boolean-number
    db.execute(sa.insert(flags), {"active": 1})
    db.execute(sa.text("SELECT 'active = 1' /* active = 1 */ FROM flags -- active = 1"))
