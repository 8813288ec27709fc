"""A long id, rows taken over by number, an unnamed key, and the schema changed in batch mode."""

import sqlalchemy as sa
from alembic import op

revision = "0046_add_strategy_deployment_job_queue"
down_revision = "0001"


def upgrade() -> None:
    op.execute("INSERT INTO instruments (symbol, active) SELECT symbol, 1 FROM old_instruments")
    op.add_column("instruments", sa.Column("deployment_id", sa.BigInteger(), sa.ForeignKey("deployments.id")))
    with op.batch_alter_table("instruments") as batch:
        batch.drop_column("lots")
    for row in op.get_bind().execute(sa.text("SELECT id, active FROM old_instruments")):
        op.get_bind().execute(
            sa.text("UPDATE instruments SET active = :active WHERE id = :id"),
            {"id": row.id, "active": 1 if row.active else 0},
        )
