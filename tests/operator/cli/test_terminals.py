"""What is shown is exact and harmless, whatever the data holds and whatever the terminal can write."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from migration.common.outcome import Outcome
from migration.common.plain import stored
from migration.common.render import Renderer
from migration.verbs.cli import main
from tests.operator.sides import Sides

AtStage = Callable[[str], Sides]
ROOT = Path(__file__).resolve().parents[3]
NASTY = "₹12 :smile: [bold]x[/bold] \x1b[31m\x07\u202e"
SHOWN = "₹12 :smile: [bold]x[/bold] \\x1b[31m\\x07\\u202e"
IN_ASCII = SHOWN.replace("₹", "\\u20b9")
IN_JSON = IN_ASCII.replace("\\x", "\\u00")
# A folder's name is no concern here: an editable install finds its own only where the locale has its letters.
ON_ITS_PATH = {"PYTHONPATH": os.pathsep.join([str(ROOT / "backend"), str(ROOT)])}
ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "TERM": "dumb"}


def _ascii_stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)


def _written(stream: io.TextIOWrapper) -> str:
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode("ascii")


def _with_nasty_rows(sides: Sides) -> Sides:
    sides.sqlite("UPDATE alerts SET price = 389247.0, qty = ?, raw_payload = ? WHERE id = 7", NASTY, NASTY)
    return sides


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_every_verb_writes_to_an_ascii_terminal(
    as_json: bool, at_stage: AtStage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sides = _with_nasty_rows(at_stage("prepared"))
    code = tmp_path / "₹.py"
    code.write_text(f'execute("SELECT `{NASTY}`")\n', encoding="utf-8")
    said = {}
    for words in (
        ("preflight",),
        ("prepare",),
        ("backfill",),
        ("worker", "--until-drained"),
        ("verify",),
        ("status",),
        ("quarantine", "list"),
        ("quarantine", "show", "alerts", "7"),
        ("quarantine", "show", "alerts", "₹"),
        ("quarantine", "retry", "alerts", "7"),
        ("quarantine", "accept", "alerts", "7", "--by", NASTY, "--yes"),
        ("cutover", "--dry-run"),
        ("cutover",),
        ("history",),
        ("rollback",),
        ("lint", str(code)),
        ("verify", "--table", "₹"),
        ("₹",),
    ):
        out, err = _ascii_stream(), _ascii_stream()
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        options = ("--sqlite", str(sides.path), "--postgres", sides.url, *(("--json",) if as_json else ()))
        main([*words, *options])
        text = _written(out) + _written(err)
        assert "Traceback" not in text and "codec" not in text
        assert not set(text) & {"\x1b", "\x07"}
        if as_json:
            json.loads(_written(out))
        said[words] = text
    if not as_json:
        accept = said["quarantine", "accept", "alerts", "7", "--by", NASTY, "--yes"]
        assert IN_ASCII in accept
        assert f'  qty = "{IN_JSON}"' in said["quarantine", "show", "alerts", "7"]
        assert "\\u20b9.py" in said["lint", str(code)]


def test_quarantined_row_is_shown_exactly(at_stage: AtStage, capsys: pytest.CaptureFixture[str]) -> None:
    sides = _with_nasty_rows(at_stage("prepared"))
    assert sides.run("backfill").code == 0
    capsys.readouterr()
    main(["quarantine", "show", "alerts", "7", "--sqlite", str(sides.path), "--postgres", sides.url])
    lines = capsys.readouterr().out.splitlines()
    assert "  price = 389247.0" in lines
    assert '  qty = "₹12 :smile: [bold]x[/bold] \\u001b[31m\\u0007\\u202e"' in lines


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (389247.0, "389247.0"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1767225600.5, "1767225600.5"),
        (2**63 - 1, "9223372036854775807"),
        (-0.0, "-0.0"),
        (None, "NULL"),
        ({"real": "inf"}, "inf"),
        ({"text": ""}, '""'),
        ({"text": 'a"\\\n'}, '"a\\"\\\\\\n"'),
        ({"text_hex": "ff00"}, "text X'ff00'"),
        ({"blob_hex": "ff00"}, "X'ff00'"),
    ],
)
def test_stored_value_is_shown_exactly(value: object, text: str) -> None:
    assert stored(value) == text


def test_every_part_of_a_result_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    data = {
        "one": NASTY,
        "many": [NASTY],
        "inner": {NASTY: NASTY, "deep": {"x": NASTY}},
        "rows": [{"key": NASTY, NASTY: {"x": NASTY}, "seconds": 389247.0}],
        NASTY: 1,
    }
    Renderer(as_json=False).result("status", Outcome("status", NASTY, data=data))
    Renderer(as_json=False).result("status", Outcome("status", "lines", lines=[NASTY]))
    Renderer(as_json=False).result(
        "x", Outcome("error", NASTY, data={"error": "x", "hint": NASTY, "reasons": [NASTY]})
    )
    Renderer(as_json=False).line(NASTY)
    out, err = capsys.readouterr()
    assert out.count(SHOWN) == 11 and err.count(SHOWN) == 4
    assert "389247" in out
    assert not set(out + err) & {"\x1b", "\x07", "\u202e", "\U0001f604"}


@pytest.mark.parametrize(
    "terminal",
    [{"TERM": "xterm-256color", **{k: v for k, v in ASCII.items() if k != "TERM"}}, ASCII],
    ids=["ascii", "dumb"],
)
def test_progress_on_a_terminal_that_writes_ascii_only(terminal: dict[str, str]) -> None:
    """Bars are drawn, or lines written, in an own process on a terminal of its own."""
    script = (
        "import sys\n"
        "from migration.common.render import Renderer, _Told\n"
        "_Told.EVERY_S = 0.0\n"
        "with Renderer(as_json=False).progress('copy') as advance:\n"
        f"    advance({NASTY!a}, 5, 10)\n"
        f"    advance({NASTY!a}, 5, 10)\n"
    )
    seen = _on_a_terminal([sys.executable, "-c", script], terminal)
    assert "Traceback" not in seen
    assert IN_ASCII in seen
    assert "\x1b[31m\x07" not in seen
    if terminal is ASCII:
        assert "\x1b" not in seen


def test_words_of_the_command_line_are_read_as_utf8(at_stage: AtStage) -> None:
    """In a C locale Python reads the arguments' bytes as ASCII; the row is found all the same."""
    sides = _with_nasty_rows(at_stage("prepared"))
    assert sides.run("backfill").code == 0
    words = ["quarantine", "accept", "alerts", "7", "--by", "₹", "--yes", "--json"]
    sides_of_it = ["--sqlite", str(sides.path), "--postgres", sides.url]
    done = subprocess.run(
        [sys.executable, "-m", "migration", *words, *sides_of_it],
        cwd=ROOT,
        env={**os.environ, **ON_ITS_PATH, **ASCII},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["by"] == "₹"


def _on_a_terminal(command: list[str], environment: dict[str, str]) -> str:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **ON_ITS_PATH, "COLUMNS": "200", **environment},
        stdout=theirs,
        stderr=theirs,
        stdin=subprocess.DEVNULL,
    )
    os.close(theirs)
    seen = b""
    try:
        while select.select([ours], [], [], 60)[0]:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            seen += piece
        process.wait(60)
    finally:
        process.kill()
        os.close(ours)
    return seen.decode("ascii")
