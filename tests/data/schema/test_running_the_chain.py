"""How the chain is run: which database, one runner at a time, all or nothing, and the recorded database."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory

from app.db.revisions import chain
from app.db.revisions.chain import ALEMBIC_INI, alembic_config, upgrade_head
from tests.data.schema.conftest import HEAD, Ladder, Start
from tests.data.schema.schema_reflection import reflect

BACKEND = ALEMBIC_INI.parent
FAILING = f"""
import sqlalchemy as sa
from alembic import op

revision = "failing"
down_revision = "{HEAD}"


def upgrade():
    op.create_table("half_done", sa.Column("id", sa.Integer(), primary_key=True))
    op.execute("UPDATE users SET display_name = 'changed'")
    with op.batch_alter_table("orders") as batch:
        batch.drop_column("risk_spec_json")
    op.execute("INSERT INTO no_such_table VALUES (1)")
"""


def version(url: str) -> str | None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


def alembic(*arguments: str, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    """Start Alembic's own command line on the backend's configuration."""
    # Under a test runner the application uses a database of its own; the command line is no test.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.Popen(
        [sys.executable, "-m", "alembic", "-c", str(ALEMBIC_INI), *arguments],
        cwd=cwd,
        env=inherited | {"PYTHONPATH": str(BACKEND)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_percent_sign_in_the_name_of_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ini = tmp_path / "100 %s" / "alembic.ini"
    ini.parent.mkdir()
    shutil.copy(ALEMBIC_INI, ini)
    monkeypatch.setattr(chain, "ALEMBIC_INI", ini)
    config = alembic_config("sqlite:///50%25.db")
    assert config.get_main_option("script_location") == str(ini.parent / "alembic")
    assert config.get_main_option("prepend_sys_path") == str(ini.parent)
    assert config.get_main_option("sqlalchemy.url") == "sqlite:///50%25.db"


def test_failing_revision_leaves_nothing_behind(start: Start, tmp_path: Path) -> None:
    url = start(HEAD)
    (tmp_path / "failing.py").write_text(FAILING)
    config = alembic_config(url)
    config.set_main_option("version_locations", f"{BACKEND / 'alembic' / 'versions'}:{tmp_path}")
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        before = reflect(connection)
    with pytest.raises(sa.exc.DBAPIError):
        command.upgrade(config, "failing")
    with engine.connect() as connection:
        assert reflect(connection) == before
        names = connection.exec_driver_sql("SELECT display_name FROM users").scalars().all()
    assert names == ["Administrator"]
    assert version(url) == HEAD


def test_chain_can_be_taken_back(ladder: Ladder) -> None:
    url = ladder.at("postgres", HEAD)
    command.downgrade(alembic_config(url), "base")
    assert sa.inspect(sa.create_engine(url, poolclass=sa.NullPool)).get_table_names() == ["alembic_version"]


def test_two_runners_at_once_both_succeed(start: Start, tmp_path: Path) -> None:
    url = start("0052")
    runners = [alembic("-x", f"url={url}", "upgrade", "head", cwd=tmp_path) for _ in range(2)]
    outputs = [runner.communicate(timeout=60)[1] for runner in runners]
    assert [runner.returncode for runner in runners] == [0, 0], outputs
    steps = [output.count("Running upgrade") for output in outputs]
    scripts = ScriptDirectory.from_config(alembic_config(url))
    assert sorted(steps) == [0, len(list(scripts.iterate_revisions("head", "0052")))]
    assert version(url) == HEAD


def test_command_line_follows_the_environment_unless_a_url_is_given(tmp_path: Path) -> None:
    environment, given = (f"sqlite:///{tmp_path / name}" for name in ("environment.db", "given.db"))
    calls = [
        (["upgrade", "0002"], environment),
        (["-x", f"url={given}", "upgrade", "0001"], given),
    ]
    for arguments, _ in calls:
        runner = alembic(*arguments, cwd=tmp_path, ST_DATABASE_URL=environment)
        assert runner.wait(timeout=60) == 0, runner.communicate()[1]
        runner.communicate()
    assert version(environment) == "0002"
    assert version(given) == "0001"


def test_caller_decides_about_the_transaction_of_its_connection(url: str) -> None:
    config = alembic_config(url)
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    if engine.dialect.name == "sqlite":
        transactional(engine)
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        transaction = connection.begin()
        command.upgrade(config, "0003")
        transaction.rollback()
        assert sa.inspect(connection).get_table_names() == []
        connection.rollback()
        command.upgrade(config, "0003")
    assert version(url) == "0003"


def transactional(engine: sa.Engine) -> None:
    """Transactions on SQLite that cover DDL, which the driver's own do not."""

    @sa.event.listens_for(engine, "connect")
    def on_connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    @sa.event.listens_for(engine, "begin")
    def on_begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def test_script_output_is_refused(tmp_path: Path) -> None:
    runner = alembic("upgrade", "head", "--sql", cwd=tmp_path)
    output = runner.communicate(timeout=60)
    assert runner.returncode != 0
    assert "cannot be written out as a script" in "".join(output)


def test_database_at_head_is_left_alone(sample_file: Path, tmp_path: Path) -> None:
    file = Path(shutil.copy(sample_file, tmp_path / "sample.db"))
    before = file.read_bytes()
    url = f"sqlite:///{file}"
    assert version(url) == ScriptDirectory.from_config(alembic_config(url)).get_current_head()
    upgrade_head(url)
    assert file.read_bytes() == before


def test_text_integers_and_order_on_postgres(ladder: Ladder) -> None:
    with sa.create_engine(ladder.at("postgres", HEAD), poolclass=sa.NullPool).begin() as connection:
        for number, symbol in enumerate(["b", "A", "a" * 5000, "é", "B"], start=1):
            connection.execute(
                sa.text("INSERT INTO alerts (id, symbol, action, raw_payload) VALUES (:id, :s, :a, '')"),
                {"id": 70_476_944_225 + number, "s": symbol, "a": "BUY_QUANTITY"},
            )
        symbols = connection.exec_driver_sql("SELECT left(symbol, 2) FROM alerts ORDER BY symbol").scalars()
        assert list(symbols) == ["A", "B", "aa", "b", "é"]
