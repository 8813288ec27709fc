"""What every verb has in common: the sides, --json, --debug, and the boundary at which errors become lines.

A verb is a function that takes its `Call` and its own options and returns an `Outcome`. `verb` turns the function
into a command and adds the common options, so that no verb repeats them.
"""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from app.db.common.errors import ConfigurationError, FileReplaced, NotPrepared, SwitchError
from app.db.common.settings import database_url, load_settings
from app.db.common.urls import Pair, Side, parse_url
from app.db.sides.stores import Stores
from app.db.switch.moments import Moments
from migration.common import sides
from migration.common.examples import epilog
from migration.common.failures import failure, redact, secrets_of
from migration.common.outcome import Exit, Outcome
from migration.common.plain import argument, lasting_output
from migration.common.render import Renderer
from migration.common.trail import Recorded, only_looks

SqliteOption = Annotated[
    str | None,
    typer.Option("--sqlite", metavar="FILE", help="The SQLite side: the path of the file, or a URL."),
]
PostgresOption = Annotated[
    str | None, typer.Option("--postgres", metavar="URL", help="The PostgreSQL side: a URL.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print exactly one JSON object on stdout, everything else on stderr.")
]
ProgressOption = Annotated[
    bool,
    typer.Option("--progress", help="Tell on stderr in JSON objects, one per line, how far long work is."),
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show where an error came from.")]

_WORDS: ContextVar[Sequence[str]] = ContextVar("words", default=())
_COMMON = [
    inspect.Parameter("sqlite", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=SqliteOption),
    inspect.Parameter("postgres", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=PostgresOption),
    inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=JsonOption),
    inspect.Parameter("progress", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=ProgressOption),
    inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=DebugOption),
]


class Call:
    """One call of one verb.

    Args:
        command: the verb's name.
        sqlite, postgres: the options, None where not given.
        looks: whether this call changes nothing, and is therefore not recorded.
    """

    def __init__(
        self,
        command: str,
        sqlite: str | None,
        postgres: str | None,
        *,
        as_json: bool,
        debug: bool,
        progress: bool = False,
        looks: bool = False,
    ) -> None:
        self.command = command
        self.looks = looks
        self.sqlite = sqlite
        self.postgres = postgres
        self.as_json = as_json
        self.debug = debug or os.environ.get("ST_DEBUG_TRACEBACK") == "1"
        self.render = Renderer(as_json=as_json, lines_of_json=progress)

    def pair(self) -> Pair:
        """Both sides; raises ConfigurationError."""
        return sides.find_pair(self.sqlite, self.postgres)

    def moments(self) -> Moments:
        """Whom this call tells of what it does; raises ConfigurationError."""
        return Moments(load_settings(), self.report)

    def stores(self) -> Stores:
        """Connections to both sides, which the caller closes; raises ConfigurationError."""
        return sides.open_stores(self.pair())

    @contextmanager
    def prepared(self) -> Iterator[Stores]:
        """Connections to two sides that were prepared with each other.

        Raises:
            NotPrepared: a side carries no control row, or they belong to different pairs.
            ShadowUnavailable: PostgreSQL cannot be reached.
        """
        with self.stores() as stores:
            if stores.sqlite.read_control().pair != stores.postgres.read_control().pair:
                raise NotPrepared("the two databases belong to different pairs", hint="check both URLs")
            yield stores

    def confirm_name(self, what: str, lines: Sequence[str], name: str, yes: str | bool | None) -> None:
        """Show what is about to be destroyed, and have the database's name typed.

        Args:
            what: what the command does, in one sentence.
            lines: what is removed, in detail.
            name: the name of the database.
            yes: that name as a script gave it, or a bool where a script gives `--yes` alone.

        Raises:
            ConfigurationError: another name was given, or none and nobody is there to ask; nothing was done.
        """
        answer = (name if yes else None) if isinstance(yes, bool) else yes
        if answer is None:
            for line in (what, *(f"  {line}" for line in lines)):
                self.report(line)
            if not sys.stdin.isatty():
                raise ConfigurationError(
                    " ".join([what, *(f"{line}." for line in lines), "Nobody can be asked here"]),
                    hint=f"add --yes{'' if isinstance(yes, bool) else f' {name}'} if that is meant",
                )
            answer = typer.prompt(f"Type {name} to go on", err=True, default="", show_default=False)
        if answer != name:
            raise ConfigurationError(
                f"the database is called {name}, not {answer or 'nothing'}: nothing was done",
                hint="check --postgres and ST_SHADOW_DATABASE_URL",
            )

    def report(self, line: str) -> None:
        """One step, on stderr."""
        self.render.line(redact(line, self._secrets()))

    def run(self, body: Callable[[], Outcome]) -> int:
        """Do the work; whatever happens, record it, print one result and return the exit code."""
        kept: Recorded | None = None
        try:
            kept = self._recorded()
            if kept is not None and (why := kept.begin()):
                self.report(why)
            outcome = body()
        except (Exception, KeyboardInterrupt) as error:
            outcome = failure(error, self._secrets())
            if self.debug:
                for line in traceback.format_exc().splitlines():
                    self.report(line)
        try:
            self.render.result(self.command, outcome)
        finally:  # a reader of the result that has gone away takes nothing from the record
            if kept is not None:
                self._end(kept, outcome)
        lost = self.render.lost
        if lost is None or isinstance(lost, BrokenPipeError):  # who closed a pipe had read enough
            return int(outcome.exit)
        self.report(f"the result cannot be printed: {lost.strerror}")
        return int(outcome.exit or Exit.FAILED)

    def _recorded(self) -> Recorded | None:
        """The record of this call; none for a call that only looks, or that names no SQLite file."""
        if self.looks:
            return None
        with suppress(SwitchError, ValidationError):  # the call itself reports it
            url = sides.find_sides(self.sqlite, self.postgres).get(Side.SQLITE)
            if url is not None and (path := Path(str(url.database))).is_file():
                return Recorded(path, self.command, _WORDS.get(), self._secrets())
        return None

    def _end(self, kept: Recorded, outcome: Outcome) -> None:
        """Record the end. The result is printed by now, and nothing that fails here changes the exit code.

        A file that replaced SQLite's is not opened: its program would take in the former file's -wal.
        """
        with suppress(KeyboardInterrupt):
            try:
                if outcome.data.get("error") != FileReplaced.__name__:
                    with self.stores() as stores:
                        kept.tell_postgres(stores, outcome)
            except (Exception, KeyboardInterrupt) as error:
                if self.debug:
                    self.report(f"PostgreSQL's history does not have this command: {error!r}")
            if why := kept.end(outcome):
                self.report(why)

    def _secrets(self) -> set[str]:
        """Passwords of every URL that is in play, used or not, and the webhook's URL."""
        texts = [self.sqlite, self.postgres]
        others = set()
        with suppress(SwitchError, ValidationError):  # the caller's own reading of the settings reports it
            settings = load_settings()
            others = {settings.hook_webhook_url} - {""}
            texts += [database_url(), settings.shadow_database_url]
        urls = []
        for text in filter(None, texts):
            with suppress(SwitchError):
                urls.append(parse_url(text, name="url"))
        return secrets_of(*urls) | others


def verb(
    app: typer.Typer, name: str, *, group: str = ""
) -> Callable[[Callable[..., Outcome]], Callable[..., Outcome]]:
    """Register a function as the command `name`, with the common options added."""

    def register(function: Callable[..., Outcome]) -> Callable[..., Outcome]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]

        def command(
            *,
            sqlite: str | None,
            postgres: str | None,
            as_json: bool,
            progress: bool,
            debug: bool,
            **options: Any,
        ) -> None:
            command_name = f"{group} {name}".strip()
            call = Call(
                command_name,
                sqlite,  # a path is opened under the bytes that it has
                argument(postgres) if postgres else postgres,
                as_json=as_json,
                debug=debug,
                progress=progress,
                looks=only_looks(command_name, options),
            )
            options = {n: argument(v) if isinstance(v, str) else v for n, v in options.items()}
            raise typer.Exit(call.run(lambda: function(call, **options)))

        parameters = [*own, *_COMMON]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by typer
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        app.command(name, help=inspect.getdoc(function), epilog=epilog(f"{group} {name}".strip()))(command)
        return function

    return register


def main(app: typer.Typer, arguments: Sequence[str]) -> int:
    """Run one command line; a wrong one is a result like any other."""
    with lasting_output():
        return _main(app, arguments)


def _main(app: typer.Typer, arguments: Sequence[str]) -> int:
    _WORDS.set([argument(word) for word in arguments])
    try:
        code = app(args=list(arguments), prog_name="st-migrate", standalone_mode=False)
    except typer.Abort:
        return _usage_error(arguments, "not confirmed: nothing was done", Exit.USAGE)
    except typer.TyperException as error:
        return _usage_error(arguments, error.format_message(), Exit.USAGE)
    return int(code or 0)


def _usage_error(arguments: Sequence[str], message: str, exit_code: Exit) -> int:
    data = {"error": "UsageError", "hint": "st-migrate COMMAND --help lists what it takes", "reasons": []}
    command = next((word for word in arguments if not word.startswith("-")), "")
    render = Renderer(as_json="--json" in arguments, lines_of_json="--progress" in arguments)
    render.result(command, Outcome("error", message, exit_code, data))
    return int(exit_code)
