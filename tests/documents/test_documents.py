"""The documents name commands, options, targets, tests, files and metrics that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from app.db.common.urls import Side
from app.db.sides import tables
from migration.verbs.cli import app
from migration.verbs.schema import in_full
from tests.operator.deploy.test_server_files import samples

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *sorted((ROOT / "docs").rglob("*.md")),
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")),
]
MADE_AT_START = ("backend/.env.generated",)  # by the application, never in the repository
MODULES = [
    f"/{path.relative_to(ROOT).as_posix()}"
    for folder in ("backend", "deploy", "docs", "loadtests", "migration", "st_migrate", "tests")
    for path in (ROOT / folder).rglob("*.py")
]
OF_OTHERS = ("manage.py", "shop.py", "setup.py", "app/report.py")  # examples; setup.py is ours, at the top
_FENCED = re.compile(r"^ *```\w*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_CALL = re.compile(r"(?:st-migrate|python -m migration) +([^#|;&]*)")
_LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def code(page: Path) -> Iterator[str]:
    """Each line of a code block, and each piece of inline code."""
    text = page.read_text(encoding="utf-8")
    for block in _FENCED.findall(text):
        yield from block.splitlines()
    yield from _INLINE.findall(_FENCED.sub("", text))


def verb_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that words name, and what follows it."""
    command: Any = get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    return command, words


@every_page
def test_commands_and_options_exist(page: Path) -> None:
    for line in code(page):
        for call in _CALL.findall(line):
            words = in_full(call.split())
            if not words or not re.fullmatch(r"[a-z-]+", words[0]):
                continue  # `st-migrate COMMAND`, or an option of all commands
            command, rest = verb_of(words)
            rest = rest[: rest.index("--")] if "--" in rest else rest  # what follows is another program's
            assert not hasattr(command, "commands"), f"no such command: {line}"
            options = {option for parameter in command.params for option in parameter.opts}
            named = {word.split("=")[0].rstrip("].,") for word in rest if word.startswith("--")}
            assert named <= options | {"--help"}, line


def test_the_parser_sees_what_is_wrong(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for wrong in (
        "`st-migrate explode`",
        "```\nst-migrate verify --harder\n```",
        "`st-migrate quarantine burn`",
    ):
        page.write_text(f"Text {wrong} text.\n" if wrong[1] != "`" else f"Text\n\n{wrong}\n")
        with pytest.raises(AssertionError):
            test_commands_and_options_exist(page)


@every_page
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = {target for line in code(page) for target in re.findall(r"^make ([a-z-]+)", line)}
    assert named <= targets


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in _LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        file = (page.parent / target).resolve()
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
            assert anchor[1:] in anchors, anchor


@every_page
def test_files_and_folders_of_the_project_exist(page: Path) -> None:
    folders = "backend|deploy|docs|loadtests|migration|tests"
    for piece in code(page):
        for path in re.findall(rf"(?<![\w/.:-])((?:{folders})/[\w./-]*\w)", piece):
            assert (ROOT / path).exists() or path in MADE_AT_START, path
        for path in re.findall(r"(?<![\w/.:-])(?:app/)?[\w/]*\w\.py\b", piece):
            assert any(known.endswith(f"/{path}") for known in MODULES) or path in OF_OTHERS, path


def test_the_tests_that_limits_names_exist() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", (ROOT / "docs" / "limits.md").read_text(encoding="utf-8"))
    assert len(named) > 20
    for file, test in named:
        text = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(rf"def {test}\(", text), f"{file}::{test}"


@pytest.mark.parametrize("name", ["runbook.md", "security.md", "scaling.md", "limits.md"])
def test_what_begins_with_st_is_a_metric_or_a_table(name: str) -> None:
    bookkeeping = {table for side in Side for table in tables.names(side)}
    families = {sample.removesuffix(end) for sample in samples() for end in ("", "_bucket", "_count", "_sum")}
    for piece in code(ROOT / "docs" / name):
        for word in re.findall(r"\bst_[a-z_]+\b", piece):
            if not word.endswith("_id_seq"):
                assert word in bookkeeping | families, word


def test_every_metric_that_an_alert_uses_is_in_the_runbook() -> None:
    runbook = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    alerts = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text(encoding="utf-8")
    used = {re.sub(r"_(bucket|count|sum)$", "", metric) for metric in re.findall(r"\bst_\w+", alerts)}
    missing = sorted(metric for metric in used if f"`{metric}`" not in runbook)
    assert missing == []
