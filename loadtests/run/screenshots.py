"""Pictures of the console for the documents: a small move is played, and a browser without a window looks at it.

    python -m loadtests.run.screenshots [FOLDER]

Needs the extra `dev` and Debian's `chromium`.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from loadtests.stage import sample
from loadtests.stage.embedded import EmbeddedPostgres

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs" / "pictures"
WATCHED_S = 30  # of traffic before the first picture
WIDE, PHONE = {"width": 1240, "height": 1000}, {"width": 390, "height": 844}
TOOL = [sys.executable, "-m", "migration"]


def environment() -> dict[str, str]:
    """That of a command of this checkout."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "backend"), str(ROOT)])}


@contextmanager
def console(sides: list[str], *options: str) -> Iterator[str]:
    """A running console; yields the URL that opens it once."""
    process = subprocess.Popen(
        [*TOOL, "console", *sides, *options],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"http://\S+token=\S+", line):
                yield found.group()
                break
        else:
            raise RuntimeError("the console printed no URL")
    finally:
        process.terminate()
        process.wait(60)
        if process.stderr:
            process.stderr.close()


@contextmanager
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    path = shutil.which("chromium")
    if path is None:
        raise RuntimeError("chromium is not installed: apt-get install chromium")
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield started
        finally:
            started.close()


@contextmanager
def traffic(path: Path) -> Iterator[None]:
    """Writes that come now fast, now slowly, until the block ends."""
    stop = threading.Event()

    def write() -> None:
        connection = sqlite3.connect(path, isolation_level=None, timeout=30)
        n = 0
        while not stop.wait(0.02 + 0.1 * (n // 120 % 2)):
            n += 1
            with suppress(sqlite3.OperationalError):  # the fence
                connection.execute("UPDATE alerts SET qty = ? WHERE id = 1 + ? % 500", (float(n), n))
        connection.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def main() -> int:
    """Play the move and take the pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURES
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, EmbeddedPostgres() as server:
        path = Path(scratch, "sigma_trader.db")
        sample.make(path)
        sides = ["--sqlite", str(path), "--postgres", server.create_database("sigma")]

        def migrate(*words: str) -> None:
            subprocess.run([*TOOL, *words, *sides], env=environment(), check=True, stdout=subprocess.DEVNULL)

        migrate("prepare")
        with console(sides, "--allow-actions") as url, browser() as chromium:
            _play(chromium, url, path, migrate, folder, sides)
    return 0


def _play(
    chromium: Browser,
    url: str,
    path: Path,
    migrate: Callable[..., None],
    folder: Path,
    sides: list[str],
) -> None:
    context = chromium.new_context(viewport=WIDE, color_scheme="light", locale="en-GB", timezone_id="UTC")
    page = context.new_page()
    page.goto(url)
    with traffic(path):
        migrate("backfill")
        worker = subprocess.Popen([*TOOL, "worker", *sides], env=environment(), stderr=subprocess.DEVNULL)
        try:
            page.wait_for_timeout(WATCHED_S * 500)
            migrate("verify")
            page.wait_for_timeout(WATCHED_S * 500)
            migrate("cutover")
            page.wait_for_timeout(3_000)
            migrate("rollback")
            migrate("verify")
            page.wait_for_timeout(3_000)
            _picture(page, folder / "console.png")
            page.emulate_media(color_scheme="dark")
            page.get_by_role("button", name="cutover").click()
            page.get_by_text("every gate agrees").wait_for()
            _picture(page, folder / "console-dark.png")
            page.get_by_role("button", name="Cancel").click()
            page.emulate_media(color_scheme="light")
            page.set_viewport_size(PHONE)
            page.wait_for_timeout(1500)
            _picture(page, folder / "console-phone.png")
        finally:
            worker.terminate()
            worker.wait(60)
    context.close()


def _picture(page: Page, to: Path) -> None:
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=to)
    print(to)


if __name__ == "__main__":
    sys.exit(main())
