"""`make docs` builds a whole site: every page is in its navigation, its reference is complete, it loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from app.db.common.errors import SwitchError
from app.db.common.failpoints import Failpoint
from tests.documents.test_settings_files import settings_that_exist
from tests.operator.cli.test_documentation import VERBS
from tests.operator.deploy.test_server_files import samples

ROOT = Path(__file__).resolve().parents[2]
_LOADED = re.compile(r"""<(?:script|img|link|iframe)[^>]*?(?:src|href)=["']?(?:https?:)?//[^"'> ]*""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, f"a new page belongs into the nav of mkdocs.yml\n{done.stdout}{done.stderr}"
    return folder


def _page(site: Path, name: str) -> str:
    return (site / "reference" / f"{name}.html").read_text(encoding="utf-8")


def test_the_reference_is_complete(site: Path) -> None:
    options, settings, metrics, failpoints, errors = (
        _page(site, name) for name in ("options", "settings", "metrics", "failpoints", "errors")
    )
    assert [verb for verb in VERBS if f">{verb}<" not in options] == []
    spelt = {
        f"{option}<" for verb in VERBS.values() for parameter in verb.params for option in parameter.opts
    }
    common = {f"{name}<" for name in ("--sqlite", "--postgres", "--json", "--progress", "--debug")}
    assert [
        option for option in sorted(spelt - common) if option.startswith("--") and option not in options
    ] == []
    assert [name for name in settings_that_exist() if f"<code>{name}</code>" not in settings] == []
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in samples()}
    assert [name for name in families if f"<code>{name}</code>" not in metrics] == []
    assert [point for point in Failpoint if f"<code>{point}</code>" not in failpoints] == []
    assert [kind for kind in _below(SwitchError) if f"<code>{kind}</code>" not in errors] == []


def _below(kind: type[Exception]) -> set[str]:
    found = {child.__name__ for child in kind.__subclasses__() if child.__module__ == SwitchError.__module__}
    return found.union(*(_below(child) for child in kind.__subclasses__()))


def test_no_cell_of_the_reference_is_empty(site: Path) -> None:
    for name, columns in (("settings", 3), ("metrics", 4), ("failpoints", 2), ("errors", 2)):
        for row in re.findall(r"<tr>(.*?)</tr>", _page(site, name), re.DOTALL):
            cells = re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)
            assert not cells or (len(cells) >= columns and cells[-1].strip()), row


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    pages = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(pages) > 40
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert _LOADED.findall(text) + re.findall(r"url\(['\"]?(?:https?:)?//[^)]*", text) == [], page
    assert _LOADED.findall('<link rel=x href="https://fonts.example/a.css">')


def test_search_knows_every_page_of_the_handbook(site: Path) -> None:
    index = (site / "search" / "search_index.json").read_text(encoding="utf-8")
    pages = re.findall(r": ([\w./-]+)\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert len(pages) > 30
    assert [page for page in pages if f'"{page}.html' not in index] == []


def test_every_document_has_a_place_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    nav = yaml.safe_dump(yaml.safe_load(text)["nav"])
    missing = [page.name for page in (ROOT / "docs").glob("*.md") if f": {page.name}" not in nav]
    assert missing == []
