"""The two folders copied over another checkout: its models, settings and revisions stay what they are.

The checkout here is a small one of its own, written the way such applications are: a settings module
that knows one URL, an env.py that takes the URL of alembic.ini, Boolean defaults "0" and "1", lengths that
SQLite never enforced, a revision id of 38 characters, a zone-aware column, seed rows.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tests.support.pairs import connect

ROOT = Path(__file__).resolve().parents[3]

FILES = {
    "backend/app/__init__.py": "",
    "backend/app/core/__init__.py": "",
    "backend/app/core/config.py": """
        import os
        from functools import lru_cache

        class Settings:
            database_url = os.environ["ST_DATABASE_URL"]

        @lru_cache
        def get_settings():
            return Settings()
        """,
    "backend/app/models/__init__.py": """
        from datetime import datetime
        from sqlalchemy import Boolean, DateTime, Float, ForeignKey, Integer, String
        from sqlalchemy.orm import Mapped, mapped_column
        from app.db.base import Base
        from app.db.types import UTCDateTime

        class Trader(Base):
            __tablename__ = "traders"
            id: Mapped[int] = mapped_column(Integer, primary_key=True)
            name: Mapped[str] = mapped_column(String(10), unique=True)
            active: Mapped[bool] = mapped_column(Boolean, default=True)
            seen_at: Mapped[datetime | None] = mapped_column(UTCDateTime)

        class Trade(Base):
            __tablename__ = "trades"
            id: Mapped[int] = mapped_column(Integer, primary_key=True)
            trader_id: Mapped[int | None] = mapped_column(ForeignKey("traders.id", ondelete="CASCADE"))
            shares: Mapped[int] = mapped_column(Integer)
            price: Mapped[float | None] = mapped_column(Float)
            bar_time: Mapped[datetime | None] = mapped_column(DateTime)
        """,
    "backend/app/writer.py": """
        import sys
        from datetime import datetime, timedelta, timezone
        from app.db.session import Base, SessionLocal, engine, get_db
        from app.models import Trade, Trader

        with SessionLocal() as session:
            trader = Trader(name=sys.argv[1], seen_at=datetime(2026, 1, 2, 15, tzinfo=timezone.utc))
            session.add(trader)
            session.flush()
            ist = timezone(timedelta(hours=5, minutes=30))
            session.add(Trade(trader_id=trader.id, shares=70_476_944_225, price=float("nan"),
                              bar_time=datetime(2026, 1, 2, 9, 20, tzinfo=ist)))
            session.commit()
            print(session.connection().dialect.name)
        """,
    "backend/alembic.ini": """
        [alembic]
        script_location = alembic
        sqlalchemy.url = sqlite:///./never_this_one.db
        """,
    "backend/alembic/env.py": """
        from alembic import context
        from sqlalchemy import engine_from_config, pool

        config = context.config
        connectable = engine_from_config(config.get_section(config.config_ini_section), poolclass=pool.NullPool)
        with connectable.connect() as connection:
            context.configure(connection=connection)
            with context.begin_transaction():
                context.run_migrations()
        """,
    "backend/alembic/versions/0001_traders.py": """
        import sqlalchemy as sa
        from alembic import op

        revision, down_revision = "0001", None

        def upgrade():
            op.create_table(
                "traders",
                sa.Column("id", sa.Integer(), primary_key=True),
                sa.Column("name", sa.String(length=10), nullable=False, unique=True),
                sa.Column("active", sa.Boolean(), nullable=False, server_default=sa.text("1")),
                sa.Column("blocked", sa.Boolean(), nullable=False, server_default="0"),
            )
            op.execute("INSERT INTO traders (id, name) VALUES (1, 'house')")
        """,
    "backend/alembic/versions/0002_trades.py": """
        import sqlalchemy as sa
        from alembic import op

        revision, down_revision = "0002_a_revision_id_of_38_characters_xx", "0001"

        def upgrade():
            op.create_table(
                "trades",
                sa.Column("id", sa.Integer(), primary_key=True),
                sa.Column("trader_id", sa.Integer(), sa.ForeignKey("traders.id", ondelete="CASCADE")),
                sa.Column("shares", sa.Integer(), nullable=False),
                sa.Column("price", sa.Float()),
                sa.Column("bar_time", sa.DateTime()),
            )
            with op.batch_alter_table("traders") as batch:
                batch.add_column(sa.Column("seen_at", sa.DateTime(timezone=True)))
        """,
}


class Checkout:
    """Another checkout with the two folders copied over it, and commands run in it."""

    def __init__(self, folder: Path, postgres: str) -> None:
        self.folder = folder
        self.file = folder / "app.db"
        for name, text in FILES.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text))
        # With the compiled files, which stay valid: a copy keeps the times. Compiling is most of a short command's time.
        shutil.copytree(ROOT / "backend" / "app" / "db", folder / "backend" / "app" / "db")
        shutil.copytree(ROOT / "migration", folder / "migration")
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{folder / 'backend'}:{folder}",
            "ST_DATABASE_URL": f"sqlite:///{self.file}",
            "ST_SHADOW_DATABASE_URL": postgres,
        }

    def python(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def migrate(self, *arguments: str) -> dict[str, object]:
        return dict(json.loads(self.python("-m", "migration", *arguments, "--json")))


@pytest.fixture
def checkout(tmp_path: Path, pg_url: str) -> Checkout:
    made = Checkout(tmp_path / "other", pg_url)
    made.python(
        "-c",
        "from app.core.config import get_settings as g; from app.db.revisions.chain import upgrade_head as u; "
        "u(g().database_url)",
    )
    rows = sqlite3.connect(made.file)
    rows.execute("INSERT INTO traders (name, active) VALUES ('a name far beyond ten characters', 0)")
    rows.execute("INSERT INTO trades (trader_id, shares) VALUES (99, 5000000000)")  # an orphan
    rows.commit()
    rows.close()
    return made


def test_another_checkout_moves_there_and_back_and_serves_on_both_sides(
    checkout: Checkout, pg_url: str
) -> None:
    assert not (checkout.folder / "never_this_one.db").exists()
    checkout.migrate("run")
    assert checkout.python("-m", "app.writer", "before").strip() == "sqlite"
    checkout.migrate("cutover")
    assert checkout.python("-m", "app.writer", "between").strip() == "postgresql"
    checkout.migrate("rollback")
    assert checkout.python("-m", "app.writer", "after").strip() == "sqlite"
    assert checkout.migrate("verify")["mismatches"] == 0

    with connect(pg_url) as postgres:
        names = {row[0] for row in postgres.execute("SELECT name FROM traders").fetchall()}
        trades = postgres.execute(
            "SELECT DISTINCT shares, price, bar_time::text FROM trades WHERE shares > 5000000000"
        ).fetchall()
        version = postgres.execute("SELECT version_num FROM alembic_version").fetchone()
    assert names == {"house", "a name far beyond ten characters", "before", "between", "after"}
    # One wall clock, one NULL for NaN, one number beyond 32 bits, whichever side it was written on.
    assert trades == [(70_476_944_225, None, "2026-01-02 09:20:00")]
    assert version == ("0002_a_revision_id_of_38_characters_xx",)
    with sqlite3.connect(checkout.file) as sqlite:
        assert sqlite.execute("SELECT count(*) FROM traders").fetchone() == (5,)
    sqlite.close()


def test_turning_the_url_is_the_whole_switch_without_a_line_in_the_checkout(checkout: Checkout) -> None:
    checkout.migrate("run")
    file, postgres = (checkout.environment[name] for name in ("ST_DATABASE_URL", "ST_SHADOW_DATABASE_URL"))
    checkout.environment["ST_CUTOVER"] = "auto"
    for own, other, dialect in ((postgres, file, "postgresql"), (file, postgres, "sqlite")):
        checkout.environment.update(ST_DATABASE_URL=own, ST_SHADOW_DATABASE_URL=other)
        assert checkout.python("-m", "app.writer", f"on {dialect}").strip() == dialect
    assert checkout.migrate("verify")["mismatches"] == 0


LATER = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "0003", "0002_a_revision_id_of_38_characters_xx"

def upgrade():
    with op.batch_alter_table("traders") as batch:
        batch.alter_column("active", nullable=True, existing_type=sa.Boolean())
        batch.add_column(sa.Column("desk", sa.String(length=4)))
    op.create_table(
        "desks", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("name", sa.String(length=4))
    )
    op.execute("INSERT INTO desks (id, name) VALUES (1, 'desk')")
"""
OURS = """
import app.models
from app.db.base import Base
from app.db.revisions.chain import run_environment

run_environment(Base.metadata)
"""


def _bring_a_revision(checkout: Checkout, *, ini_names_the_file: bool = True) -> None:
    versions = checkout.folder / "backend" / "alembic" / "versions"
    (versions / "0003_desks.py").write_text(LATER)
    if ini_names_the_file:
        ini = checkout.folder / "backend" / "alembic.ini"
        ini.write_text(
            ini.read_text(encoding="utf-8").replace(
                "sqlite:///./never_this_one.db", f"sqlite:///{checkout.file}"
            )
        )


def _auto_migrate(checkout: Checkout) -> None:
    """As the checkout does at its own start: Alembic's command, its own env.py, the URL of alembic.ini."""
    checkout.python(
        "-c",
        "import os; os.chdir('backend'); from alembic import command; from alembic.config import Config; "
        "command.upgrade(Config('alembic.ini'), 'head')",
    )


def _columns(pg_url: str, table: str) -> dict[str, str]:
    with connect(pg_url) as postgres:
        rows = postgres.execute(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = %s", (table,)
        ).fetchall()
    return dict(rows)


@pytest.mark.parametrize("primary", ["sqlite", "postgres"])
def test_schema_upgrade_is_the_one_command_for_both_sides(
    checkout: Checkout, pg_url: str, primary: str
) -> None:
    checkout.migrate("run")
    if primary == "postgres":
        checkout.migrate("cutover")
    _bring_a_revision(checkout, ini_names_the_file=False)
    found = checkout.migrate("schema", "upgrade")
    assert found["outcome"] == "upgraded"
    assert found["revisions"] == {
        side: {"from": "0002_a_revision_id_of_38_characters_xx", "to": "0003"}
        for side in ("sqlite", "postgres")
    }
    assert not list(checkout.folder.rglob("never_this_one.db"))
    assert _columns(pg_url, "desks") == {"id": "bigint", "name": "text"}
    assert checkout.migrate("schema", "upgrade")["outcome"] == "already_upgraded"
    checkout.python("-m", "app.writer", "later")
    assert checkout.migrate("worker", "--until-drained")["drained"]
    assert checkout.migrate("verify")["outcome"] == "clean"


def test_sqlite_migrated_alone_by_the_checkout_misses_nothing(checkout: Checkout, pg_url: str) -> None:
    checkout.migrate("run")
    _bring_a_revision(checkout)
    _auto_migrate(checkout)
    sqlite = sqlite3.connect(checkout.file, isolation_level=None)
    assert sqlite.execute(
        "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'traders'"
    ).fetchone() == (0,)
    sqlite.execute("UPDATE traders SET name = 'uncaught' WHERE id = 1")
    found = checkout.migrate("status")
    assert found["next"] == "st-migrate schema upgrade"
    assert any("revision 0003 on SQLite" in text or "only on SQLite" in text for text in found["blocks"])
    assert checkout.migrate("schema", "upgrade")["outcome"] == "upgraded"
    sqlite.execute("UPDATE traders SET desk = 'caught' WHERE id = 1")
    sqlite.close()
    assert checkout.migrate("worker", "--until-drained")["drained"]
    assert checkout.migrate("verify")["outcome"] == "clean"
    with connect(pg_url) as postgres:
        row = postgres.execute("SELECT name, desk FROM traders WHERE id = 1").fetchone()
    assert row == ("uncaught", "caught")
    assert _columns(pg_url, "traders")["desk"] == "text"


def test_env_py_of_its_own_is_named_until_it_is_ours(checkout: Checkout, pg_url: str) -> None:
    def codes() -> set[str]:
        return {item["code"] for item in checkout.migrate("preflight")["findings"] if "chain" in item["code"]}  # type: ignore[attr-defined]

    assert codes() == {"chain.environment", "chain.url"}
    (checkout.folder / "backend" / "alembic" / "env.py").write_text(OURS)
    assert codes() == set()
    checkout.migrate("run")
    _bring_a_revision(checkout, ini_names_the_file=False)
    _auto_migrate(checkout)
    assert not list(checkout.folder.rglob("never_this_one.db"))
    assert _columns(pg_url, "desks") == {"id": "bigint", "name": "text"}
    with sqlite3.connect(checkout.file) as sqlite:
        assert sqlite.execute("SELECT version_num FROM alembic_version").fetchone() == ("0003",)
    sqlite.close()
