"""What the application's command lines share: one answer in JSON on stdout, and exit codes.

Exit codes: 0 done, 1 findings or refused, 2 usage, 3 failed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError

from app.db.common.errors import Refused, SwitchError, first_line
from app.db.session.runtime import runtime

DONE: Final = 0
FINDINGS: Final = 1
USAGE: Final = 2
FAILED: Final = 3

Answer = tuple[int, Any]
Command = Callable[[argparse.Namespace], Answer]


def parser_of(
    module: str, about: str | None, commands: Iterable[tuple[str, Command, str]]
) -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """A parser for `python -m MODULE COMMAND`, and those of its commands by name.

    Args:
        about: the module's docstring; its first line is shown.
        commands: name, function and help of each.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=(about or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    choices = parser.add_subparsers(required=True, metavar="COMMAND")
    added = {}
    for name, command, help_ in commands:
        added[name] = choices.add_parser(name, help=help_, description=help_)
        added[name].set_defaults(command=command)
    return parser, added


def run(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None, codes: Mapping[type[Exception], int]
) -> int:
    """Run the chosen command and print its answer; returns the exit code.

    Args:
        codes: of errors whose text is the answer, beside those of the databases, which are FAILED.
    """
    chosen = parser.parse_args(arguments)
    code: int
    try:
        code, answer = chosen.command(chosen)
    except Refused as error:
        code, answer = FINDINGS, {"refused": error.message, "hint": error.hint}
    except (*codes, SQLAlchemyError, SwitchError) as error:
        code = next((code for kind, code in codes.items() if isinstance(error, kind)), FAILED)
        answer = {"error": first_line(error)}
    finally:
        runtime().stop()
    print(json.dumps(answer, indent=None if chosen.json else 2, ensure_ascii=False))
    return code
