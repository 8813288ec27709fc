"""Quoting that only SQLite takes."""

from sqlalchemy import BigInteger, Column, MetaData, Table, Text, text
from sqlalchemy.orm import Session

known = Table("known", MetaData(), Column("order", BigInteger), Column("name", Text))


def run(db: Session) -> None:
    db.execute(text('SELECT * FROM known WHERE name = "Smith"'))  # expect: double-quoted-text
    db.execute(text("SELECT * FROM known WHERE name IN (\"a\", 'b')"))  # expect: double-quoted-text
    db.execute(text('INSERT INTO known (name) VALUES ("x")'))  # expect: double-quoted-text
    db.execute(text("SELECT `name` FROM known"))  # expect: quoted-name
    db.execute(text("SELECT [name] FROM [known]"))  # expect: quoted-name, quoted-name
    db.execute(text('SELECT "name" FROM known WHERE "order" = "name"'))  # expect: text-number
    db.execute(text("SELECT a[1], ARRAY[b, c] FROM known"))
    db.execute(text("SELECT '`x` [y] \"z\"' FROM known"))
