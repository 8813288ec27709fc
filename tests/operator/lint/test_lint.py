"""The lint finds each hazard where it is, and nothing else."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from migration.lint.rules import RULES
from migration.lint.run import Finding, run
from migration.lint.sql.rules import SQL_RULES
from migration.verbs.cli import main

HERE = Path(__file__).parent
REPO = HERE.parents[2]
CASES = sorted((HERE / "cases").glob("*.py"))
EXPECTED = re.compile(r"# expect: ([\w, -]+)$")  # a rule as often as it is found on the line


def expected(path: Path) -> Counter[tuple[int, str]]:
    found: Counter[tuple[int, str]] = Counter()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if match := EXPECTED.search(line):
            found.update((number, rule.strip()) for rule in match[1].split(","))
    return found


def places(findings: list[Finding]) -> Counter[tuple[int, str]]:
    return Counter((finding.line, finding.rule) for finding in findings)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path) -> None:
    assert places(run([path]).findings) == expected(path)


def test_every_rule_has_a_case() -> None:
    shown = {rule for path in CASES for _, rule in expected(path)}
    elsewhere = {"syntax", "chain-run-otherwise"} | {
        rule.id for rule in SQL_RULES
    }  # test_pairs has the latter
    assert shown | elsewhere == set(RULES)


def test_chain_written_for_sqlite_only() -> None:
    findings = run([HERE / "sqlite_only_chain"]).findings
    assert {finding.rule for finding in findings} == {
        "boolean-default",
        "boolean-number",
        "revision-id",
        "zoned-time",
        "local-time-default",
        "dialect-branch",
        "unnamed-key",
        "string-length",
        "integer-range",
        "batch-recreate",
        "chain-environment",
    }
    assert Counter(finding.rule for finding in findings)["boolean-number"] == 3


def test_what_app_db_takes_care_of_is_counted_where_it_runs_the_chain(tmp_path: Path) -> None:
    chain = tmp_path / "chain"
    shutil.copytree(HERE / "sqlite_only_chain", chain)
    (chain / "env.py").write_text("from app.db.revisions.pair import migrate\n")
    report = run([chain])
    assert {finding.rule for finding in report.findings} == {
        "boolean-number",
        "dialect-branch",
        "unnamed-key",
    }
    listed = Counter(finding.rule for finding in run([HERE / "sqlite_only_chain"]).findings)
    assert report.handled == Counter({rule: n for rule, n in listed.items() if RULES[rule].handled})


def test_chain_beside_app_db_that_its_own_env_runs_is_one_finding(tmp_path: Path) -> None:
    chain = tmp_path / "alembic"
    shutil.copytree(HERE / "sqlite_only_chain", chain)
    (tmp_path / "app" / "db" / "revisions").mkdir(parents=True)
    (tmp_path / "app" / "db" / "revisions" / "pair.py").write_text("")
    report = run([chain])
    assert {finding.rule for finding in report.findings} == {
        "boolean-number",
        "dialect-branch",
        "unnamed-key",
        "chain-run-otherwise",
        "chain-environment",
    }
    one = next(finding for finding in report.findings if finding.rule == "chain-run-otherwise")
    assert (Path(one.path).name, "string-length" in one.about) == ("env.py", True)
    assert not report.handled


@pytest.mark.parametrize("above", ["build/app", "lib/site-packages/shop", ".venv/src", "node_modules/x"])
def test_only_what_is_below_the_given_folder_can_be_skipped(above: str, tmp_path: Path) -> None:
    folder = tmp_path / above
    for below in ("", "api", "build", ".venv/lib", "__pycache__", "site-packages/other"):
        (folder / below).mkdir(parents=True, exist_ok=True)
        (folder / below / "code.py").write_text('db.execute("PRAGMA optimize")\n')
    (folder / "env" / "lib").mkdir(parents=True)
    (folder / "env" / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (folder / "env" / "lib" / "code.py").write_text("broken(\n")
    report = run([folder, folder / "api", folder / "api" / "code.py"])
    assert report.files == 2
    assert [Path(f.path).relative_to(folder).as_posix() for f in report.findings] == [
        "api/code.py",
        "code.py",
    ]


def test_command_says_how_many_files_it_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "code.py").write_text("x = 1\n")
    assert main(["lint", str(tmp_path)]) == 0
    assert "0 findings in 1 file\n" in capsys.readouterr().out
    assert main(["lint", str(tmp_path), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["outcome"], data["files"], data["handled"]) == ("clean", 1, {})


def test_command_that_read_no_file_is_a_wrong_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty" / ".venv").mkdir(parents=True)
    (tmp_path / "empty" / ".venv" / "code.py").write_text("x = 1\n")
    assert main(["lint", str(tmp_path / "empty"), "--json"]) == 2
    data = json.loads(capsys.readouterr().out)
    assert "no Python file was read" in data["message"] and data["hint"]


def test_text_of_a_finding_is_shown_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "oracle.py"
    file.write_text("\n" * 99 + 'db.execute("PRAGMA :smile:")\n')
    assert main(["lint", str(file)]) == 1
    assert f"{file}:100: error pragma" in capsys.readouterr().out


def test_our_own_code_is_clean() -> None:
    assert [str(finding) for finding in run([REPO / "backend", REPO / "migration"]).findings] == []


def test_fix_changes_nothing_but_what_it_names(tmp_path: Path) -> None:
    for case in CASES:
        shutil.copy(case, tmp_path)
    before = {path.name: path.read_text(encoding="utf-8").splitlines() for path in tmp_path.glob("*.py")}
    findings = run([tmp_path], fix=True).findings
    fixed = {(Path(f.path).name, f.line) for f in findings if f.fixed}
    for path in sorted(tmp_path.glob("*.py")):
        after = path.read_text(encoding="utf-8").splitlines()
        changed = {
            n for n, pair in enumerate(zip(before[path.name], after, strict=True), 1) if pair[0] != pair[1]
        }
        assert changed == {line for name, line in fixed if name == path.name}
    again = run([tmp_path]).findings
    assert [f for f in again if f.fixable] == []
    assert len(again) == len([f for f in findings if not f.fixed])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            'sa.Column("a", sa.Boolean(),  server_default = "0" )',
            'sa.Column("a", sa.Boolean(),  server_default = sa.false() )',
        ),
        ('sa.text("SELECT IFNULL(é, 1) FROM t")', 'sa.text("SELECT coalesce(é, 1) FROM t")'),
        ('sa.text("""UPDATE t\n  SET a = 1""")', 'sa.text("""UPDATE t\n  SET a = true""")'),
        ("sa.func.ifnull(1,  2)", "sa.func.coalesce(1,  2)"),
    ],
)
def test_fix_keeps_the_formatting(before: str, after: str, tmp_path: Path) -> None:
    file = tmp_path / "code.py"
    head = 'import sqlalchemy as sa\nknown = sa.Column("a", sa.Boolean())\n'
    file.write_text(head + before)
    assert [finding.fixed for finding in run([file], fix=True).findings] == [True]
    assert file.read_text(encoding="utf-8") == head + after


def test_fix_leaves_a_number_without_a_meaning(tmp_path: Path) -> None:
    file = tmp_path / "code.py"
    text = 'import sqlalchemy as sa\nknown = sa.Column("a", sa.Boolean())\nsa.text("SELECT 1 FROM t WHERE a = 2")\n'
    file.write_text(text)
    assert [finding.fixed for finding in run([file], fix=True).findings] == [False]
    assert file.read_text(encoding="utf-8") == text


def test_line_in_a_long_text(tmp_path: Path) -> None:
    file = tmp_path / "code.py"
    file.write_text('db.execute("""\nSELECT a\nFROM t\nWHERE b LIKE \'x\'\n""")\n')
    assert places(run([file]).findings) == Counter({(4, "like-case"): 1})


def test_file_that_is_not_python(tmp_path: Path) -> None:
    file = tmp_path / "code.py"
    file.write_text("def broken(:\n")
    assert places(run([file]).findings) == Counter({(1, "syntax"): 1})


def test_finding_as_json() -> None:
    finding = run([HERE / "cases" / "revision_id.py"]).findings[0]
    assert json.loads(json.dumps(finding.as_json())) == {
        "path": str(HERE / "cases" / "revision_id.py"),
        "line": 3,
        "rule": "revision-id",
        "severity": "error",
        "about": "0046_add_a_queue_for_the_jobs_of_deployments has 44 characters",
        "means": RULES["revision-id"].means,
        "remedy": RULES["revision-id"].remedy,
        "fixable": False,
        "fixed": False,
    }


def test_documentation_names_every_rule() -> None:
    text = (REPO / "docs" / "lint.md").read_text(encoding="utf-8")
    assert [rule for rule in RULES if f"`{rule}`" not in text] == []
