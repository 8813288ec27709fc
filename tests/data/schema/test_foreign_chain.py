"""A chain that knows SQLite only comes out right on PostgreSQL, without a change in it."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.config import Config

from app.db.revisions.chain import upgrade_head
from app.db.revisions.ddl import install_portable_defaults, normalise_postgres

LONG_ID = "0002_an_identifier_with_38_characters_"

FIRST = """
import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade():
    op.create_table(
        "parents",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("code", sa.String(10), nullable=False, server_default="none"),
        sa.Column("quoted", sa.Boolean(), nullable=False, server_default="0"),
        sa.Column("bare", sa.Boolean(), nullable=False, server_default=sa.text("1")),
        sa.Column("small", sa.SmallInteger(), server_default="7"),
        sa.Column("ratio", sa.REAL()),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.func.now()),
        sa.Column("made_at", sa.DateTime(), server_default=sa.text("CURRENT_TIMESTAMP")),
        sa.CheckConstraint("code IN ('none', 'long code')", name="ck_code"),
        sa.UniqueConstraint("code", "small", name="ux_code"),
    )
"""

SECOND = f"""
import sqlalchemy as sa
from alembic import op

revision = "{LONG_ID}"
down_revision = "0001"


def upgrade():
    op.create_table(
        'Odd "%s" :name',
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column('a "b" %d', sa.String(3), server_default="x"),
        sa.Column("parent_id", sa.Integer(), sa.ForeignKey("parents.id")),
    )
    op.add_column("parents", sa.Column("later", sa.Boolean(), nullable=False, server_default="1"))
"""


# An env.py that knows nothing of PostgreSQL, and must not be executed.
ENVIRONMENT = "raise RuntimeError('executed')"


@pytest.fixture
def chain(tmp_path: Path) -> Config:
    """A chain in a folder of its own."""
    folder = tmp_path / "chain"
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text(ENVIRONMENT)
    (folder / "versions" / "first.py").write_text(FIRST)
    (folder / "versions" / "second.py").write_text(SECOND)
    config = Config()
    config.set_main_option("script_location", str(folder))
    return config


@pytest.fixture
def owner_url(pg_url: str) -> str:
    """The test's database, owned by a role without any privilege of its own."""
    url = sa.make_url(pg_url)
    role = f"owner_{url.database}"
    with sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool).connect() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN PASSWORD 'p%%w' NOSUPERUSER")
        connection.exec_driver_sql(f"ALTER DATABASE {url.database} OWNER TO {role}")
    return url.set(username=role, password="p%w").render_as_string(hide_password=False)


def test_chain_runs_and_accepts_what_sqlite_accepts(owner_url: str, chain: Config) -> None:
    install_portable_defaults()
    upgrade_head(owner_url, config=chain)
    engine = sa.create_engine(owner_url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("SET timezone TO 'Asia/Kolkata'")
        connection.exec_driver_sql("INSERT INTO parents (id, small, ratio) VALUES (5000000000, 70000, 0.1)")
        connection.exec_driver_sql(
            """INSERT INTO "Odd ""%%s"" :name" ("a ""b"" %%d", parent_id) VALUES ('longer', 5000000000)"""
        )
        row = connection.exec_driver_sql(
            "SELECT code, quoted, bare, later, small, ratio, seen_at, made_at, timezone('utc', now()) AS utc"
            " FROM parents"
        ).one()
    assert row[:6] == ("none", False, True, True, 70000, 0.1)
    assert row.seen_at == row.made_at == row.utc
    assert read_version(engine) == LONG_ID


def read_version(engine: sa.Engine) -> str:
    with engine.connect() as connection:
        return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()


def test_defaults_stay_as_written_on_sqlite(chain: Config, tmp_path: Path) -> None:
    install_portable_defaults()
    url = f"sqlite:///{tmp_path / 'plain.db'}"
    upgrade_head(url, config=chain)
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        text = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = 'parents'").scalar_one()
    for column in (
        "id INTEGER NOT NULL",
        "quoted BOOLEAN DEFAULT '0' NOT NULL",
        "bare BOOLEAN DEFAULT 1 NOT NULL",
        "small SMALLINT DEFAULT '7'",
        "later BOOLEAN DEFAULT '1' NOT NULL",
    ):
        assert column in text


def test_second_pass_finds_nothing_to_do(pg_url: str, chain: Config) -> None:
    upgrade_head(pg_url, config=chain)
    with sa.create_engine(pg_url, poolclass=sa.NullPool).begin() as connection:
        assert normalise_postgres(connection) == []


def test_tables_made_by_hand_are_widened_in_one_statement_each(pg_url: str) -> None:
    made = """
        CREATE TABLE "T ""1"" %%" (
            "Id ;" serial PRIMARY KEY,
            other int GENERATED BY DEFAULT AS IDENTITY,
            fixed char(4) DEFAULT 'ab' CHECK (fixed <> 'zz'),
            words text DEFAULT 'w',
            at timestamptz(0) DEFAULT CURRENT_TIMESTAMP,
            since timestamptz DEFAULT '2026-01-01 00:00:00+00',
            local timestamp DEFAULT now()::timestamp,
            half real DEFAULT 0.5
        )
    """
    with sa.create_engine(pg_url, poolclass=sa.NullPool).begin() as connection:
        connection.exec_driver_sql("SET LOCAL timezone TO 'Asia/Kolkata'")
        connection.exec_driver_sql(made)
        connection.exec_driver_sql("CREATE TABLE st_history (name varchar(5))")
        connection.exec_driver_sql("CREATE TABLE st_orders (id bigint PRIMARY KEY, name varchar(5))")
        connection.exec_driver_sql("""INSERT INTO "T ""1"" %%" (at) VALUES ('2026-01-05 10:00:00+05:30')""")
        statements = normalise_postgres(connection)
        assert [statement.split()[:2] for statement in statements] == [
            ["ALTER", "TABLE"],
            ["ALTER", "SEQUENCE"],
            ["ALTER", "TABLE"],  # st_orders: only our own tables' names are ours
        ]
        assert normalise_postgres(connection) == []
        connection.exec_driver_sql(
            """INSERT INTO "T ""1"" %%" ("Id ;", other) VALUES (5000000000, 5000000000)"""
        )
        rows = connection.exec_driver_sql(
            """SELECT fixed, at, since, local - timezone('utc', now()) FROM "T ""1"" %%" ORDER BY "Id ;" """
        ).all()
        types = connection.exec_driver_sql(
            "SELECT DISTINCT data_type FROM pg_sequences WHERE schemaname = 'public'"
        ).all()
        own = sa.inspect(connection).get_columns("st_history")[0]["type"]
    assert rows[0].fixed == "ab"
    assert rows[0].at.isoformat() == "2026-01-05T10:00:00+05:30"  # made with a zone, left with it
    assert rows[1].since.utcoffset() is not None
    assert rows[1][3].total_seconds() == 0
    assert [str(kind) for (kind,) in types] == ["bigint"]
    assert own.length == 5


def test_a_column_under_a_generated_one_is_widened(pg_url: str) -> None:
    made = """
        CREATE TABLE "t%%" (
            id int PRIMARY KEY,
            name varchar(5) NOT NULL,
            size int NOT NULL GENERATED ALWAYS AS (length(name)) STORED CHECK (size < 100),
            "low ;" varchar(5) COLLATE "POSIX" GENERATED ALWAYS AS (lower(name)) STORED UNIQUE,
            twice bigint GENERATED ALWAYS AS (2) STORED
        )
    """
    columns = "SELECT column_name FROM information_schema.columns WHERE table_name = 't%%' ORDER BY ordinal_position"
    with sa.create_engine(pg_url, poolclass=sa.NullPool).begin() as connection:
        connection.exec_driver_sql(made)
        connection.exec_driver_sql("""CREATE INDEX "by %%" ON "t%%" (size, "low ;") WHERE size > 1""")
        connection.exec_driver_sql("""INSERT INTO "t%%" (id, name) VALUES (1, 'Ada')""")
        kept = _kept(connection)
        normalise_postgres(connection)
        assert normalise_postgres(connection) == []
        connection.exec_driver_sql("""INSERT INTO "t%%" (id, name) VALUES (5000000000, 'A')""")
        assert connection.exec_driver_sql("""SELECT size, "low ;" FROM "t%%" ORDER BY id""").all() == [
            (3, "ada"),
            (1, "a"),
        ]
        assert connection.exec_driver_sql(columns).scalars().all() == ["id", "name", "twice", "size", "low ;"]
        assert _kept(connection) == kept


def _kept(connection: sa.Connection) -> list[str]:
    """Constraints and indexes, and what is required and collates, as PostgreSQL prints them."""
    return list(
        connection.exec_driver_sql(
            "SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint WHERE contype IN ('u', 'c') UNION ALL "
            "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' UNION ALL "
            "SELECT concat(column_name, is_nullable, collation_name) FROM information_schema.columns "
            "WHERE table_name = 't%%' AND column_name IN ('size', 'low ;') ORDER BY 1"
        ).scalars()
    )
