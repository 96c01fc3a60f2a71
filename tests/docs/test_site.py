"""The site builds without warnings and works offline, the README is short, and no page is empty."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.markdown import DOCS, README, Page, pages
from tests.lengths import LONG


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as `make docs` does, and return its folder."""
    folder = tmp_path_factory.mktemp("site")
    options = ["-W", "--keep-going", "-n", "-q"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(DOCS), str(folder)], capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr
    return folder


@LONG
@pytest.mark.timeout(420)
def test_the_site_needs_no_network(site: Path) -> None:
    """No page loads a script, a style, a font or an image from elsewhere."""
    loads = re.compile(r"<(?:script|img|iframe|source)[^>]+src=\"(?:https?:)?//|<link[^>]+href=\"(?:https?:)?//")
    for page in site.rglob("*.html"):
        assert not loads.search(page.read_text(encoding="utf-8")), page
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", style.read_text(encoding="utf-8")), style


@LONG
@pytest.mark.timeout(420)
def test_the_search_works_offline(site: Path) -> None:
    """The search index is part of the site and contains the words of the pages."""
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    assert "webhook" in index
    assert (site / "search.html").exists()


def test_the_readme_is_short() -> None:
    """The README has at most 200 lines; everything else has a page."""
    assert len(README.text.splitlines()) <= 200


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in pages()])
def test_no_page_is_a_stub(page: Page) -> None:
    """Each page has more than its title."""
    assert len(page.text.splitlines()) > 1
