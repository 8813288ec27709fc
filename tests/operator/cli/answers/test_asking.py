"""What destroys asks first: it shows what goes, takes the database's name, and empties no primary."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.operator.sides import ALERTS, Answer, Sides

AtStage = Callable[[str], Sides]


def filled(at_stage: AtStage) -> Sides:
    """A fresh SQLite file beside a PostgreSQL that holds rows of no move."""
    sides = replace(at_stage("fresh"), path=at_stage("fresh").path)
    sides.postgres("CREATE TABLE alerts (id bigint PRIMARY KEY, created_at timestamp)")
    sides.postgres("INSERT INTO alerts VALUES (1, '2026-02-03 04:05:06'), (2, NULL)")
    return sides


def refused_to_ask(answer: Answer) -> str:
    assert (answer.code, answer.data["error"]) == (2, "ConfigurationError")
    assert "Nobody can be asked here" in answer.data["message"]
    return str(answer.data["message"])


@pytest.mark.parametrize("verb", ["prepare", "run", "copy"])
def test_discarding_rows_shows_them_and_does_nothing_unasked(at_stage: AtStage, verb: str) -> None:
    sides = filled(at_stage)
    with sides.connect() as connection:
        connection.execute("SET application_name = 'sigmatrader'")
        text = refused_to_ask(sides.run(verb, "--discard-target"))
    assert f"every row that the database {sides.database} holds" in text
    assert "alerts: 2 rows, newest 2026-02-03 04:05:06" in text
    assert "sigmatrader (1)" in text
    answer = sides.run(verb, "--discard-target", "--yes", "another")
    assert answer.code == 2 and f"is called {sides.database}, not another" in answer.data["message"]
    assert sides.postgres("SELECT count(*) FROM alerts") == [(2,)]
    assert sides.traces() == ([], [])


def test_only_tables_that_are_emptied_are_shown(at_stage: AtStage) -> None:
    sides = filled(at_stage)
    sides.postgres("CREATE TABLE theirs (id bigint PRIMARY KEY)")
    sides.postgres("INSERT INTO theirs VALUES (1)")
    text = refused_to_ask(sides.run("prepare", "--discard-target", "--leave-out", "theirs"))
    assert "alerts: 2 rows" in text and "theirs" not in text


@pytest.mark.parametrize("verb", ["prepare", "run", "copy"])
@pytest.mark.parametrize("options", [(), ("--unfence-retired",)])
def test_a_primary_of_a_completed_move_is_never_emptied(
    at_stage: AtStage, verb: str, options: tuple[str, ...]
) -> None:
    live = at_stage("moved")
    assert live.run("complete", "--yes", *options).code == 0
    backup = replace(live, path=at_stage("fresh").path)  # a file from before the move
    answer = backup.run(verb, "--discard-target", "--yes", live.database)
    assert (answer.code, answer.data["error"]) == (1, "Refused")
    assert "serves as primary since epoch 2 and is never emptied" in answer.data["message"]
    assert live.postgres("SELECT count(*) FROM alerts") == [(ALERTS,)] and live.writable("postgres")


def test_a_primary_that_an_abort_left_alone_is_never_emptied(at_stage: AtStage) -> None:
    live = at_stage("moved")
    assert live.run("abort", "--yes", live.database).code == 0
    backup = replace(live, path=at_stage("fresh").path)
    assert backup.run("prepare", "--discard-target", "--yes", live.database).data["error"] == "Refused"
    assert live.postgres("SELECT count(*) FROM alerts") == [(ALERTS,)]


def test_a_database_left_behind_says_so_before_it_is_filled_anew(at_stage: AtStage) -> None:
    sides = at_stage("back")
    assert sides.run("complete", "--yes").code == 0
    text = refused_to_ask(sides.run("prepare", "--discard-target"))
    assert "it was primary until epoch 3, and left behind then" in text
    assert not sides.writable("postgres"), "the fence was lifted before anybody agreed"


def test_abort_of_a_copy_shows_it_and_takes_the_name(at_stage: AtStage) -> None:
    sides = at_stage("verified")
    text = refused_to_ask(sides.run("abort"))
    assert (
        f"the copy in the database {sides.database} is dropped" in text and f"alerts: {ALERTS} rows" in text
    )
    assert sides.run("status").data["state"] == "replicating"


def test_accepting_a_row_names_the_children_that_lose_it(at_stage: AtStage) -> None:
    sides = at_stage("verified")
    sides.sqlite("UPDATE alerts SET qty = 'many' WHERE id = 5")
    assert sides.run("worker", "--until-drained").code == 0
    arguments = ("quarantine", "accept", "alerts", "5", "--by", "asha")
    text = refused_to_ask(asked := sides.run(*arguments))
    assert asked.data["hint"] == "add --yes if that is meant"
    assert "1 row of orders loses its parent alerts 5 (alert_id; keys 5)" in text
    answer = sides.run(*arguments, "--yes")
    assert answer.data["orphans"] == [
        {"parent": "alerts", "key": "5", "table": "orders", "columns": "alert_id", "rows": 1, "first": ["5"]}
    ]


@pytest.mark.parametrize("typed", ["the name", "yes"])
def test_the_name_is_typed_on_a_terminal(at_stage: AtStage, typed: str) -> None:
    sides = at_stage("prepared")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "migration", "abort", "--sqlite", str(sides.path), "--postgres", sides.url],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.write(ours, (sides.database if typed == "the name" else typed).encode() + b"\n")
        _, err = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert f"Type {sides.database} to go on" in err
    assert process.returncode == (0 if typed == "the name" else 2)
    assert sides.run("status").data["state"] == ("not_prepared" if typed == "the name" else "copying")
