"""docs/cli.md is the contract: every verb, option and error is in it, and its examples have the real members."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from app.db.common import errors
from app.db.switch.recover import Recovered
from migration.common.outcome import Exit
from migration.verbs.cli import app, main
from tests.operator.sides import Answer, Sides

AtStage = Callable[[str], Sides]
TEXT = (Path(__file__).resolve().parents[3] / "docs" / "cli.md").read_text(encoding="utf-8")
SECTIONS = {part.partition("\n")[0].strip(): part for part in TEXT.split("\n## ")[1:]}
COMMON = SECTIONS["What holds for every command"]


def commands(command: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every verb with its parameters."""
    for name, child in getattr(command, "commands", {}).items():
        if hasattr(child, "commands"):
            yield from commands(child, f"{name} ")
        else:
            yield f"{path}{name}", child


VERBS = dict(commands(get_command(app)))


def examples() -> dict[tuple[str, str], dict[str, Any]]:
    """The documented objects by command and outcome."""
    found = {}
    for text in re.findall(r"```json\n(.*?)\n```", TEXT, re.DOTALL):
        example = json.loads(text)
        found[example["command"], example["outcome"]] = example
    return found


def shape(value: Any) -> Any:
    """The members of an object, all the way down; of a list, those of its first element."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    return [shape(item) for item in value[:1]] if isinstance(value, list) else None


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_and_option_is_documented(verb: str) -> None:
    section = SECTIONS[verb]
    assert inspect.cleandoc(VERBS[verb].help or "")
    for parameter in VERBS[verb].params:
        for option in parameter.opts if parameter.param_type_name == "option" else ():
            where = (
                COMMON if option in ("--sqlite", "--postgres", "--json", "--progress", "--debug") else section
            )
            assert option == "--help" or f"`{option}" in where, (verb, option)


def test_every_documented_section_is_a_verb() -> None:
    assert set(SECTIONS) - set(VERBS) == {"What holds for every command", "Errors"}


def test_every_error_exit_code_and_recovery_is_documented() -> None:
    classes = [
        name
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, Exception) and kind.__module__ == errors.__name__
    ]
    assert len(classes) > 8
    assert [name for name in classes if f"| `{name}` |" not in SECTIONS["Errors"]] == []
    assert all(f"| {int(code)} |" in COMMON for code in Exit)
    assert [found for found in Recovered if f'"{found}"' not in TEXT and f"`{found}`" not in TEXT] == []


def test_examples_have_the_members_of_real_objects(at_stage: AtStage) -> None:
    documented = examples()
    assert {command for command, _ in documented} >= set(VERBS)
    sides = at_stage("fresh")
    answers = [
        sides.run(*line.split()) for line in ("cutover", "prepare", "backfill", "worker --until-drained")
    ]
    answers += [
        sides.run(*line.split()) for line in ("cutover --dry-run", "verify", "run", "status", "recover")
    ]
    sides.sqlite("UPDATE alerts SET qty = 'many' WHERE id IN (4, 5)")
    lines = [
        "preflight",
        "verify",
        "quarantine list",
        "quarantine show alerts 4",
        "quarantine accept alerts 4 --by asha --yes",
    ]
    lines += [
        "quarantine retry alerts 4",
        "quarantine accept --all --by asha --yes",
        "verify",
        "cutover",
        "cutover",
    ]
    lines += [
        "pause",
        "resume",
        "throttle --copy-rate 5000",
        "history --limit 1",
        "rollback",
        "rollback",
        "cutover",
        "complete --yes",
    ]
    answers += [sides.run(*line.split()) for line in lines]
    answers += [at_stage("fresh").run("copy"), _aborted(at_stage("prepared"))]
    compared = set()
    for answer in answers:
        name = answer.data["command"], answer.outcome
        if name in documented:
            members = (
                set(documented[name]) if answer.outcome != "error" else set(documented["cutover", "error"])
            )
            assert set(answer.data) == members, name
            compared.add(name)
    assert len(compared) >= 20, sorted(set(documented) - compared)


def _aborted(sides: Sides) -> Answer:
    return sides.run("abort", "--yes", sides.database)


def test_status_example_is_exact(at_stage: AtStage) -> None:
    answer = at_stage("verified").run("status")
    assert shape(answer.data) == shape(examples()["status", "status"])


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert [verb for verb in VERBS if verb.split()[0] not in text] == []
