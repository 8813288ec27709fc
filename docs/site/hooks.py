"""What `make docs` adds to the folder `docs`: three pages from above it, and a reference that the code writes.

README is the site's first page. Options, settings, metrics, failpoints and errors have one page each, made from
help texts, from .env.example, from the metrics' own help, from comments and from docstrings. So no page can
name what does not exist.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "backend")]
# What follows is found on this path, so it is imported after it: that is the reason for each E402.

from prometheus_client.metrics import MetricWrapperBase  # noqa: E402
from typer.main import get_command  # noqa: E402

import app.core.metrics  # noqa: E402
import app.db.common.metrics  # noqa: E402
import app.retention.metrics  # noqa: E402
import app.roles.metrics  # noqa: E402
import app.services.shared.jobs.metrics  # noqa: E402
import app.services.webhook.door.metrics  # noqa: E402
from app.db.common import errors, failpoints  # noqa: E402
from migration.common import failures  # noqa: E402
from migration.common.examples import EXAMPLES, commands  # noqa: E402
from migration.common.outcome import Exit  # noqa: E402
from migration.verbs.cli import app as cli  # noqa: E402

METRICS = (
    app.core.metrics, app.db.common.metrics, app.services.webhook.door.metrics, app.services.shared.jobs.metrics,
    app.retention.metrics, app.roles.metrics,
)  # fmt: skip
ABOVE = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
ONE_COMMAND = ("--sqlite", "--postgres", "--json", "--progress", "--debug", "--help")
_PAGE = re.compile(r"docs/([\w-]+)\.md")
_SETTING = re.compile(r"#?([A-Z][A-Z0-9_]+)=(.*)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """mkdocs calls this with the files of `docs`, and takes what comes back."""
    for name, page in ABOVE.items():
        files.append(File.generated(config, page, content=from_above((ROOT / name).read_text("utf-8"))))
    decisions = sorted((ROOT / "docs" / "adr").glob("*.md"))
    files.append(File.generated(config, "adr/index.md", content=decided(decisions)))
    for name, make in REFERENCE.items():
        files.append(File.generated(config, f"reference/{name}.md", content="\n".join(make()) + "\n"))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """mkdocs calls this for each page: links that lead to a folder or above `docs` get the site's names."""
    markdown = markdown.replace("](adr/)", "](adr/index.md)")
    for name, page in ABOVE.items():
        markdown = markdown.replace(f"](../{name}", f"]({page}")
    return markdown


def from_above(text: str) -> str:
    """A page of the root as a page of the site."""
    text = text.replace("](docs/", "](").replace('src="docs/', 'src="')
    for name, page in ABOVE.items():
        text = text.replace(f"]({name}", f"]({page}")
    return text


def decided(pages: list[Path]) -> str:
    """The list of decisions, by their headings."""
    lines = [f"- [{page.read_text('utf-8').splitlines()[0].lstrip('# ')}]({page.name})" for page in pages]
    return "\n".join(
        ["# Decisions", "", "Each page says what was decided, why, and what was given up.", "", *lines]
    )


def options() -> Iterator[str]:
    """Every command with its options and examples."""
    yield "# Options of every command"
    yield ""
    yield "The text of `--help`, on one page. [Command line](../cli.md) has the outputs."
    yield "`--sqlite`, `--postgres`, `--json`, `--progress` and `--debug` belong to every command that needs them."
    for name, command in commands(get_command(cli)):
        shown = [
            parameter for parameter in command.params
            if parameter.param_type_name == "option" and parameter.opts[0] not in ONE_COMMAND
        ]  # fmt: skip
        yield from ("", f"## {name}", "", inspect.cleandoc(command.help or ""), "")
        if shown:
            yield from ("| option | meaning |", "|---|---|")
        for parameter in shown:
            spelt = ", ".join(f"`{option}`" for option in (*parameter.opts, *parameter.secondary_opts))
            yield f"| {spelt} | {_cell(parameter.help or '')} |"
        yield from ("", "```", *(f"st-migrate {line}" for line in EXAMPLES.get(name, ())), "```")


def settings() -> Iterator[str]:
    """Every variable of .env.example, which a test compares with the code."""
    yield from ("# Settings", "", "Variables of the environment, or of `.env`. The environment wins.")
    said: list[str] = []
    for line in (ROOT / ".env.example").read_text("utf-8").splitlines():
        if line.startswith("# ---"):
            heading = re.sub(r" \(.*\)", "", line.strip("# -")).capitalize()
            yield from ("", f"## {heading}", "", "| variable | default | meaning |", "|---|---|---|")
            said = []
        elif found := _SETTING.fullmatch(line):
            meaning = _PAGE.sub(r"[\1](../\1.md)", _cell(" ".join(said)))
            default = f"`{found[2]}`" if found[2] and not line.startswith("#") else ""
            yield f"| `{found[1]}` | {default} | {meaning} |"
            said = []
        elif line.startswith("#"):
            said.append(line.lstrip("# "))


def metrics() -> Iterator[str]:
    """Every metric, by the help text that a scrape shows."""
    yield from (
        "# Metrics",
        "",
        "`/metrics` shows them. The [runbook](../runbook.md) says when to worry.",
        "",
    )
    yield from ("| metric | kind | labels | meaning |", "|---|---|---|---|")
    rows = {}
    for collector in (value for module in METRICS for value in vars(module).values()):
        if isinstance(collector, MetricWrapperBase) and not collector._labelvalues:
            for family in collector.describe():
                name = family.name + ("_total" if family.type == "counter" else "")
                labels = ", ".join(f"`{label}`" for label in collector._labelnames)
                rows[name] = f"| `{name}` | {family.type} | {labels} | {_cell(family.documentation)} |"
    for _, row in sorted(rows.items()):
        yield row


def failpoints_page() -> Iterator[str]:
    """Every failpoint, by the comment that stands beside it."""
    yield from ("# Failpoints", "")
    yield "Places at which a test stops or kills a process. [Protocol](../protocol.md) says what is durable at each."
    yield from ("", "| failpoint | what holds there |", "|---|---|")
    source = inspect.getsource(failpoints.Failpoint)
    for name, comment in re.findall(r'"([a-z_]+\.[a-z_]+)"(?:\s*# (.*))?', source):
        yield f"| `{name}` | {_cell(comment)} |"


def errors_page() -> Iterator[str]:
    """Every error class with what a command exits with, and the exit codes."""
    yield from ("# Errors and exit codes", "", "| exit code | meaning |", "|---|---|")
    source = inspect.getsource(Exit)
    for code in Exit:
        comment = re.search(rf"{code.name} = {int(code)}  # (.*)", source)
        yield f"| {int(code)} | {_cell(comment[1] if comment else code.name)} |"
    yield from (
        "",
        "| error | a command exits with | the same call may succeed soon | meaning |",
        "|---|---|---|---|",
    )
    for kind in vars(errors).values():
        if inspect.isclass(kind) and issubclass(kind, errors.SwitchError) and kind is not errors.SwitchError:
            exits = next(
                (int(code) for base, code in failures._EXITS if issubclass(kind, base)), int(Exit.FAILED)
            )
            said = inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0]
            yield f"| `{kind.__name__}` | {exits} | {'yes' if kind.retryable else 'no'} | {_cell(said)} |"


def _cell(text: str) -> str:
    """A text as a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


REFERENCE = {
    "options": options, "settings": settings, "metrics": metrics, "failpoints": failpoints_page, "errors": errors_page,
}  # fmt: skip
