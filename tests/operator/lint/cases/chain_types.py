"""Column definitions that differ in meaning between the databases."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "t",
        sa.Column("at", sa.DateTime(timezone=True)),  # expect: zoned-time
        sa.Column("code", sa.String(16)),  # expect: string-length
        sa.Column("qty", sa.Integer()),  # expect: integer-range
        sa.Column("made", sa.DateTime(), server_default=sa.func.now()),  # expect: local-time-default
        sa.Column("seen", sa.DateTime(), server_default=sa.text("now()")),  # expect: local-time-default
        sa.Column("day", sa.Text(), server_default=sa.text("CURRENT_TIMESTAMP")),  # expect: text-time-default
        sa.Column("words", sa.Text(), server_default="none"),
        sa.Column("naive", sa.DateTime()),
    )
    with op.batch_alter_table("t") as batch:  # expect: batch-recreate
        batch.add_column(sa.Column("u_id", sa.BigInteger(), sa.ForeignKey("u.id")))  # expect: unnamed-key
        batch.add_column(sa.Column("v_id", sa.BigInteger(), sa.ForeignKey("v.id", name="fk_v")))
    if op.get_bind().dialect.name != "sqlite":  # expect: dialect-branch
        op.create_foreign_key("fk_w", "t", "w", ["w_id"], ["id"])
    op.execute("CREATE TABLE raw (id BIGINT, at TEXT DEFAULT CURRENT_TIMESTAMP)")  # expect: text-time-default
    op.execute("CREATE TABLE b (at DATETIME DEFAULT CURRENT_DATE)")  # expect: sqlite-type
    op.execute("CREATE TABLE c (at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)")  # expect: local-time-default
