"""A small chain for the tests of migrating a pair: one base, and one revision per kind of change."""

from __future__ import annotations

from pathlib import Path

from alembic.config import Config

BASE = """
def upgrade():
    op.create_table(
        "parents",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("code", sa.String(20), nullable=False),
        sa.Column("n", sa.Integer(), server_default="0"),
        sa.UniqueConstraint("code", name="ux_parents_code"),
    )
    op.create_table(
        "children",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("parent_id", sa.Integer()),
        sa.Column("text", sa.String(10)),
        sa.ForeignKeyConstraint(["parent_id"], ["parents.id"], name="fk_children", ondelete="CASCADE"),
    )
    op.create_table("doomed", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("v", sa.Text()))
    op.create_index("ix_doomed_v", "doomed", ["v"])
"""

# Each stands directly on the base.
CHANGES = {
    "add_column": """
def upgrade():
    op.add_column("parents", sa.Column("ok", sa.Boolean(), nullable=False, server_default="1"))
    op.add_column("parents", sa.Column("seen_at", sa.DateTime()))
""",
    "rebuild_with_constraint": """
def upgrade():
    with op.batch_alter_table("children") as batch:
        batch.create_unique_constraint("ux_children", ["id", "text"])
        batch.alter_column("text", type_=sa.Text(), existing_type=sa.String(10))
    op.execute("UPDATE children SET text = 'rebuilt' WHERE id <= 3")
""",
    "new_table": """
def upgrade():
    op.create_table("fresh", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("v", sa.String(5)))
    op.execute("INSERT INTO fresh (v) VALUES ('one'), ('two')")
    op.execute("INSERT INTO fresh (id, v) SELECT id + 100, code FROM parents WHERE id <= 3")
""",
    "drop_table": """
def upgrade():
    op.drop_index("ix_doomed_v", "doomed")
    op.drop_table("doomed")
""",
    "rename_table": """
def upgrade():
    op.rename_table("doomed", "spared")
""",
    "rename_column": """
def upgrade():
    op.alter_column("parents", "code", new_column_name="label", existing_type=sa.String(20))
    op.execute("UPDATE parents SET n = n + 1000 WHERE id = 2")
""",
    "data_step": """
def upgrade():
    op.execute("UPDATE parents SET n = n + 500 WHERE id <= 3")
    op.execute("INSERT INTO parents (code, n) VALUES ('seeded', 7)")
    op.execute("INSERT INTO children (parent_id, text) SELECT id, 'seed' FROM parents WHERE code = 'seeded'")
    op.execute("DELETE FROM children WHERE id = 1")
""",
    "drop_foreign_key": """
def upgrade():
    with op.batch_alter_table("children") as batch:
        batch.drop_constraint("fk_children", type_="foreignkey")
        batch.create_foreign_key("fk_gentle", "parents", ["parent_id"], ["id"], ondelete="SET NULL")
""",
    "drop_column": """
def upgrade():
    op.drop_column("children", "text")
""",
    "made_anew_by_hand": """
def upgrade():
    op.create_table("kept", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("v", sa.Text()))
    op.execute("INSERT INTO kept SELECT id, v FROM doomed")
    op.drop_index("ix_doomed_v", "doomed")
    op.drop_table("doomed")  # the next table gets its place in the file
    op.create_table("built", sa.Column("uid", sa.String(40), primary_key=True), sa.Column("v", sa.Text()))
    op.execute("INSERT INTO built SELECT 'k' || id, v FROM kept")
    op.drop_table("kept")
    op.execute('ALTER TABLE "built" RENAME TO "doomed"')
""",
    "made_anew_and_swapped": """
def upgrade():
    op.create_table("other", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("v", sa.Text()))
    op.execute("INSERT INTO other (id, v) SELECT id + 100, v FROM doomed")
    op.rename_table("doomed", "between")
    op.rename_table("other", "doomed")
    op.rename_table("between", "other")
""",
    "drop_unique": """
def upgrade():
    with op.batch_alter_table("parents") as batch:
        batch.drop_constraint("ux_parents_code", type_="unique")
        batch.create_unique_constraint("ux_parents_n", ["id", "n"])
""",
    "without_primary_key": """
def upgrade():
    op.execute("CREATE TABLE copied AS SELECT * FROM parents")
""",
    "failing": """
def upgrade():
    op.add_column("parents", sa.Column("half", sa.Integer()))
    op.execute("UPDATE parents SET half = 1")
    op.execute("INSERT INTO no_such_table VALUES (1)")
""",
    "failing_on_sqlite": """
def upgrade():
    op.add_column("parents", sa.Column("half", sa.Integer()))
    op.execute("UPDATE parents SET half = 1")
    if op.get_bind().dialect.name == "sqlite":
        op.execute("INSERT INTO no_such_table VALUES (1)")
""",
    "failing_on_postgresql": """
def upgrade():
    op.add_column("parents", sa.Column("half", sa.Integer()))
    op.execute("UPDATE parents SET half = 1")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("INSERT INTO no_such_table VALUES (1)")
""",
}

# Revisions that commit by themselves, and one that does so for a pair's sake.
CONCURRENT = """
def upgrade():
    with op.get_context().autocommit_block():
        op.create_index("ix_children_text", "children", ["text"], postgresql_concurrently=True)
    op.execute("UPDATE parents SET n = n + 9000 WHERE id = 1")
"""
COMMITTING = {
    "concurrent_index": CONCURRENT,
    "new_label": """
def upgrade():
    if op.get_bind().dialect.name == "postgresql":
        op.execute("CREATE TYPE mood AS ENUM ('calm')")
        op.execute("ALTER TABLE parents ADD COLUMN mood mood")
        op.execute("ALTER TYPE mood ADD VALUE 'loud'")
    else:
        op.add_column("parents", sa.Column("mood", sa.Text()))
""",
    "label_in_block": """
def upgrade():
    if op.get_bind().dialect.name == "postgresql":
        with op.get_context().autocommit_block():
            op.execute("ALTER TYPE mood ADD VALUE 'wild'")
    op.execute("UPDATE parents SET mood = 'wild' WHERE id = 3")
""",
    "label_used": """
def upgrade():
    op.execute("UPDATE parents SET mood = 'loud' WHERE id = 2")
""",
}
COMMITTING_PARENTS = {"label_used": "new_label", "label_in_block": "label_used"}
REFUSED = {
    "bare_commit": """
def upgrade():
    op.add_column("parents", sa.Column("half", sa.Integer()))
    op.execute("COMMIT")
""",
    "bind_commit": """
def upgrade():
    bind = op.get_bind()
    op.add_column("parents", sa.Column("half", sa.Integer()))
    bind.commit()
""",
    "vacuum": """
def upgrade():
    op.execute("VACUUM parents")
""",
    "index_without_a_block": """
def upgrade():
    op.execute("CREATE INDEX CONCURRENTLY ix_n ON parents (n)")
""",
    "rows_in_a_block": """
def upgrade():
    with op.get_context().autocommit_block():
        op.execute("UPDATE parents SET n = 1")
""",
    "late_block": """
def upgrade():
    op.add_column("parents", sa.Column("half", sa.Integer()))
    with op.get_context().autocommit_block():
        op.execute("CREATE INDEX CONCURRENTLY ix_n ON parents (n)")
""",
}
# What the source does not show: refused while it runs, before anything of it is durable.
HIDDEN = {
    "hidden_commit": """
def upgrade():
    op.add_column("parents", sa.Column("half", sa.Integer()))
    op.execute("UPDATE parents SET n = 4711")
    op.execute("".join(["COM", "MIT"]))
""",
    "hidden_commit_behind_others": """
def upgrade():
    op.add_column("parents", sa.Column("half", sa.Integer()))
    op.execute("UPDATE parents SET n = 4711")
    op.execute("".join(["/* done */ SELECT 1; COM", "MIT AND CHAIN"]))
""",
    "hidden_bind_commit": """
def upgrade():
    op.add_column("parents", sa.Column("half", sa.Integer()))
    op.execute("UPDATE parents SET n = 4711")
    getattr(op.get_bind(), "com" + "mit")()
""",
    "hidden_driver_commit": """
def upgrade():
    if op.get_bind().dialect.name == "sqlite":
        op.add_column("parents", sa.Column("half", sa.Integer()))
        op.execute("UPDATE parents SET n = 4711")
        getattr(op.get_bind().connection.dbapi_connection, "com" + "mit")()
""",
    "hidden_rows_in_a_block": """
def upgrade():
    with op.get_context().autocommit_block():
        op.execute("".join(["UPD", "ATE parents SET n = 4711"]))
""",
}

DROP_HALF = """

def downgrade():
    op.drop_column("parents", "half")
"""
NOTHING = """

def downgrade():
    pass
"""
DOWNGRADES = {
    "failing_on_sqlite": DROP_HALF,
    "failing_on_postgresql": DROP_HALF,
    "data_step": NOTHING,
    "second_data_step": NOTHING,
}


def write_chain(folder: Path) -> Config:
    """Write the chain into a folder and configure Alembic for it."""
    versions = folder / "versions"
    versions.mkdir(parents=True)
    (versions / "base.py").write_text(_revision("base_tables", None, BASE))
    for name, body in CHANGES.items():
        (versions / f"{name}.py").write_text(_revision(name, "base_tables", body))
    for name, body in {**COMMITTING, **REFUSED, **HIDDEN}.items():
        parent = COMMITTING_PARENTS.get(name, "base_tables")
        (versions / f"{name}.py").write_text(_revision(name, parent, body))
    (versions / "second.py").write_text(
        _revision("second_data_step", "data_step", "def upgrade():\n    pass\n")
    )
    config = Config()
    config.set_main_option("script_location", str(folder))
    return config


def _revision(name: str, parent: str | None, body: str) -> str:
    body += DOWNGRADES.get(name, "")
    head = f"import sqlalchemy as sa\nfrom alembic import op\n\nrevision = {name!r}\n"
    return f"{head}down_revision = {parent!r}\n\n{body}"
