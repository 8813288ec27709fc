"""`install` with the session classes of SQLModel and Flask-SQLAlchemy as they come from PyPI."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from st_migrate import install
from tests.operator.anyapp.conftest import Stranger
from tests.operator.anyapp.test_in_process import Role, _both, _roles, _write_on_both_sides
from tests.operator.anyapp.test_in_process import engine as engine
from tests.operator.anyapp.test_in_process import moving as moving

PACKAGES = ("sqlmodel==0.0.50", "flask-sqlalchemy==3.1.1")
BOTH = ["before", "after"]
pytestmark = [pytest.mark.long, pytest.mark.timeout(600), pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="session")
def downloaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages alone; what they stand on is here."""
    folder = tmp_path_factory.mktemp("sessions")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    subprocess.run([*pip, *PACKAGES], check=True, capture_output=True, timeout=400)
    return folder


@pytest.fixture(autouse=True)
def _found(downloaded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(downloaded))


def test_sqlmodel(moving: Stranger, engine: sa.Engine) -> None:
    sqlmodel = import_module("sqlmodel")
    routed = install(sqlmodel.Session, **_both(moving))
    _write_on_both_sides(moving, lambda: routed(engine))
    with routed(engine) as session:
        assert "after" in session.exec(sqlmodel.select(Role.name)).all()


def test_sqlmodel_asynchronous(moving: Stranger) -> None:
    sqlmodel = import_module("sqlmodel")
    routed: Any = install(import_module("sqlmodel.ext.asyncio.session").AsyncSession, **_both(moving))

    async def write(key: int, name: str) -> None:
        async with routed() as session:
            session.add(Role(id=key, name=name))
            await session.commit()
            found = await session.exec(sqlmodel.select(Role.name).where(Role.id == key))
            assert found.one() == name

    asyncio.run(write(10, "before"))
    moving.done("cutover")
    asyncio.run(write(11, "after"))
    assert _roles(moving) == (BOTH, BOTH)


def test_flask_sqlalchemy(moving: Stranger) -> None:
    application = import_module("flask").Flask("played")
    application.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{moving.path}"
    db = import_module("flask_sqlalchemy").SQLAlchemy()

    class Roles(db.Model):  # type: ignore[misc,name-defined]
        __tablename__ = "role"
        id = db.Column(db.Integer, primary_key=True)
        name = db.Column(db.String)

    db.init_app(application)
    for key, name in ((10, "before"), (11, "after")):
        with application.app_context():
            if name == "before":
                install(db.session, **_both(moving))
            db.session.add(Roles(id=key, name=name))
            db.session.commit()
            db.session.remove()
        if name == "before":
            moving.done("cutover")
    assert _roles(moving) == (BOTH, BOTH)
