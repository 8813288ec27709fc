"""Real applications from PyPI, each in an environment of its own, moved there and back through its own API.

    install on both -> write on SQLite -> run, while it writes -> cutover -> read everything on PostgreSQL, write
    -> rollback -> read everything on SQLite, write

By a restart at the switch, and, with `install`, in one process that goes on. They download packages and take a minute
each: `make apps`.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.operator.anyapp.conftest import Stranger
from tests.operator.apps.conftest import RECIPES, Application

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
Made = Callable[[str, Stranger], Application]


@pytest.mark.parametrize("name", RECIPES)
def test_it_moves_there_and_back(name: str, empty: Callable[[], Stranger], application: Made) -> None:
    sides = empty()
    app = application(name, sides)
    for url in (app.sqlite, app.postgres):
        app.call("install", url)
    app.call("write", app.sqlite, "30")
    RECIPES[name].begin(sides)
    with app.writing(app.sqlite, 20):
        assert sides.done("run", "--schema", "existing").outcome == "ready"
    sides.done("worker", "--until-drained")
    sides.done("verify")
    before = app.call("read", app.sqlite)
    sides.done("cutover")
    assert app.call("read", app.postgres) == before
    written = app.call("write", app.postgres, "5")
    sides.done("worker", "--until-drained")
    sides.done("verify")
    sides.done("rollback")
    assert app.call("read", app.sqlite) == written
    app.call("write", app.sqlite, "2")


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe.in_process])
def test_it_follows_in_its_process(name: str, empty: Callable[[], Stranger], application: Made) -> None:
    sides = empty()
    app = application(name, sides)
    for url in (app.sqlite, app.postgres):
        app.call("install", url)
    with app.serving() as tell:
        tell("write", "10")()
        RECIPES[name].begin(sides)
        writing = tell("write", "20")
        assert sides.done("run", "--schema", "existing").outcome == "ready"
        writing()
        for verb, reads_now in (("cutover", app.postgres), ("rollback", app.sqlite)):
            before = tell("read")()
            sides.done(verb)
            assert tell("read")() == before
            written = tell("write", "5")()
            assert app.call("read", reads_now) == written
            sides.done("worker", "--until-drained")
            sides.done("verify")
