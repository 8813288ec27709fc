"""A small move, watched and done from the page in a real browser, with PostgreSQL killed on the way."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app.db.revisions.chain import upgrade_head
from loadtests.run.screenshots import browser, console
from loadtests.stage.embedded import PASSWORD, EmbeddedPostgres

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.needs_program("chromium"), pytest.mark.timeout(300)]
WAIT_MS = 60_000


@pytest.fixture
def server() -> Iterator[EmbeddedPostgres]:
    """A server of this test's own, because it is killed."""
    with EmbeddedPostgres(light=True) as started:
        yield started


def _keeps_the_focus(page: Page) -> None:
    """A keyboard stands in a region while the page goes on."""
    page.locator("#gates .scroll").focus()
    shown = page.evaluate("points.length")
    page.wait_for_function("shown => points.length > shown + 1", arg=shown)
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Gates"


def _asks_for_what_it_missed(page: Page) -> None:
    """A page that slept hears nothing."""
    shown = page.evaluate("points.length")
    page.evaluate("() => { points.length = 1; events.close(); heardAt = 0; }")
    page.wait_for_function("shown => points.length >= shown && events.readyState === 1", arg=shown)


def test_a_move_is_watched_and_done_from_the_page(server: EmbeddedPostgres, tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    upgrade_head(f"sqlite:///{path}")
    sides = ["--sqlite", str(path), "--postgres", server.create_database("sigma")]
    with console(sides, "--allow-actions") as url, browser() as chromium:
        page = chromium.new_page()
        page.set_default_timeout(WAIT_MS)
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.goto(url)

        def expect(text: str) -> None:
            page.wait_for_function(
                "text => document.querySelector('#headline').textContent.includes(text)", arg=text
            )

        def act(name: str, ended: str, where: str = "#job-text") -> None:
            page.get_by_role("button", name=name, exact=True).click()
            page.get_by_label("Type the name").fill("sigm")
            page.locator("#plan-command", has_text=f"st-migrate {name}").wait_for()
            assert page.get_by_role("button", name="Do it").is_disabled()
            page.get_by_label("Type the name").fill("sigma")
            page.get_by_role("button", name="Do it").click()
            page.wait_for_function(
                "([where, text]) => document.querySelector(where).textContent.startsWith(text)",
                arg=[where, f"{name}: {ended}"],
            )

        expect("not prepared")
        act("preflight", "clean")
        act("run", "ready")
        expect("replicating, sqlite is primary")
        page.get_by_text("✓ open").first.wait_for()
        page.get_by_role("textbox", name="Verify, rows per second").fill("900000")
        _keeps_the_focus(page)
        act("throttle", "throttled", "#setting-text")
        page.wait_for_function(
            "() => document.querySelector('#facts').textContent.includes('verify 900,000/s')"
        )
        act("verify", "clean")
        page.wait_for_function("() => document.querySelector('#next').textContent === 'st-migrate cutover'")

        assert "rows –" in page.locator("#chart-rows .legend").inner_text()  # nothing is compared any more
        server.stop(signal.SIGQUIT)
        expect("postgres unreachable")
        for part in ("#gates", "#copy"):
            page.locator(part, has_text="Not known while PostgreSQL does not answer").wait_for()
        assert page.locator("#next").inner_text() == "settle what blocks"
        server.start()
        expect("replicating, sqlite is primary")

        _asks_for_what_it_missed(page)
        act("cutover", "moved")
        expect("postgres is primary")
        page.wait_for_function("() => document.querySelectorAll('#chart-pause circle').length > 0")
        act("rollback", "moved")
        expect("sqlite is primary")
        page.get_by_role("button", name="Show the rows").click()
        page.get_by_text("No row differs and none is in quarantine.").wait_for()
        assert "primary postgres" in page.locator("#history").inner_text()
        assert PASSWORD not in page.content()
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert wrong == []
