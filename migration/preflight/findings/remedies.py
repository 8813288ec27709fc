"""What preflight recommends, as files: `migration.toml`, and statements for each side.

Only a remedy of which every word is known becomes a line of a file. Where several conversions fit, they mean
different values, so a comment names them and people choose. What needs a decision about rows stays in the
findings, and so does what only the application's own migration can change. Nothing is executed here: people
read the files, and run the statements themselves. What only warns stands in them as a comment. For each statement
that can be taken back, a file `undo-SIDE.sql` has its inverse. A file that exists is never overwritten.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from app.db.common.errors import ConfigurationError
from app.db.common.urls import Side
from app.db.rows.conversions import CONVERSIONS
from app.db.rows.policy import DEFAULT_FILE, ORPHANS_TO_NULL, REFUSE, Policy
from migration.common.plain import plain
from migration.preflight.findings.report import Finding, Report, Severity
from migration.preflight.findings.wording import as_key

STATEMENTS = {side: f"{side}.sql" for side in Side}
UNDO = {side: f"undo-{side}.sql" for side in Side}


def refuse_existing(folder: Path) -> None:
    """Make sure that no file would be overwritten.

    Raises:
        ConfigurationError: one of the files is there, or the folder is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"{folder} is no folder", hint="name a folder for the files")
    for name in (DEFAULT_FILE, *STATEMENTS.values(), *UNDO.values()):
        if (folder / name).exists():
            raise ConfigurationError(
                f"{folder / name} exists already: nothing was written",
                hint="name another folder, or move the file away",
            )


def write(report: Report, policy: Policy, folder: Path) -> list[Path]:
    """Write the files for which there is something to say. Returns their paths.

    Args:
        policy: the choices that are in force, which the new file keeps.

    Raises:
        ConfigurationError: see `refuse_existing`; or the folder cannot be written.
    """
    texts = {DEFAULT_FILE: policy_text(report, policy)}
    texts |= {name: statements_text(report, side) for side, name in STATEMENTS.items()}
    texts |= {name: undo_text(report, side) for side, name in UNDO.items()}
    wanted = {folder / name: text for name, text in texts.items() if text}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in wanted.items():
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise ConfigurationError(
            f"{folder} cannot be written: {error.strerror or error}", hint="name a folder that may be written"
        ) from None
    return list(wanted)


def policy_text(report: Report, policy: Policy) -> str:
    """The text of `migration.toml`. Empty where no column needs a conversion."""
    names = {column: list(chosen) for column, chosen in policy.columns.items()}
    notes: dict[tuple[str, str], list[str]] = {}
    needed = False
    for item in report.findings:
        column = (item.table, item.column)
        if ORPHANS_TO_NULL in item.policies:
            if ORPHANS_TO_NULL not in item.chosen:
                clearing = f'{as_key(item.column)} = "{ORPHANS_TO_NULL}"'
                notes.setdefault(column, []).append(f"{_told(item)}; to clear them: {clearing}")
        elif item.severity is Severity.BLOCKS and item.policies:
            needed = True
            notes.setdefault(column, []).append(_choice(item))
            if len(item.policies) == 1 and REFUSE not in names.get(column, ()):
                names[column] = [*names.get(column, ()), *item.policies]
    if not needed:
        return ""
    lines = ["# What `st-migrate preflight` recommends. Every process of the move must read the same file."]
    table = None
    for column in sorted({*names, *notes}):
        if column[0] != table:
            table = column[0]
            lines += ["", f"[tables.{as_key(table)}]"]
        lines += [f"# {note}" for note in notes.get(column, ())]
        if column in names:
            lines.append(f"{as_key(column[1])} = {json.dumps(list(dict.fromkeys(names[column])))}")
    return "\n".join(lines) + "\n"


def _choice(item: Finding) -> str:
    fitting = [CONVERSIONS[name] for name in item.policies]
    meanings = ", or ".join(
        f"{one.name} ({one.meaning}{'' if one.lossless else '; not lossless'})" for one in fitting
    )
    return f"{_told(item)}; {'choose one: ' if len(fitting) > 1 else ''}{meanings}"


def statements_text(report: Report, side: Side) -> str:
    """The text of one side's SQL file. Empty where there is no statement."""
    parts = [
        _part(item, statement, active=item.severity is Severity.BLOCKS)
        for item, statement in _with_statements(report, side)
    ]
    head = f"-- What `st-migrate preflight` recommends for {side}. Read it, then run it.\n"
    head += "-- What only warns is a comment: take the dashes away where you want it.\n"
    return head + "".join(parts) if parts else ""


def undo_text(report: Report, side: Side) -> str:
    """The text of the file that takes one side's statements back, last one first. Empty where none can be."""
    parts = [
        _part(item, item.undo, active=item.severity is Severity.BLOCKS)
        for item, _ in reversed(list(_with_statements(report, side)))
        if item.undo
    ]
    head = f"-- Takes back what {STATEMENTS[side]} did, once the move has ended. Read it, then run it.\n"
    return head + "".join(parts) if parts else ""


def _with_statements(report: Report, side: Side) -> Iterator[tuple[Finding, str]]:
    for item in report.findings:
        if statement := item.on_sqlite if side is Side.SQLITE else item.on_postgres:
            yield item, statement


def _part(item: Finding, statement: str, *, active: bool) -> str:
    lines = f"{statement};".splitlines()
    shown = lines if active else [f"-- {line}" for line in lines]
    return "\n".join(["", f"-- {item.severity}: {_told(item)}", *shown, ""])


def _told(item: Finding) -> str:
    return plain(f"{item.code} {item.place}: {item.reason}" if item.place else f"{item.code}: {item.reason}")
