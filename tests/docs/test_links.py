"""Links between pages have a text and a target."""

import re
from pathlib import Path

import pytest

from tests.docs.markdown import Page, pages

_LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings and of its explicit targets."""
    text = path.read_text(encoding="utf-8")
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    slugs = {re.sub(r"[^\w\s-]", "", title).lower().replace(" ", "-") for title in titles}
    return slugs | set(re.findall(r"^\(([\w-]+)\)=$", text, flags=re.MULTILINE))


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in pages()])
def test_links_have_a_text(page: Page) -> None:
    """Every link has a text, because Sphinx would fill in an empty one but GitHub shows nothing."""
    assert "[](" not in page.prose()


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in pages()])
def test_links_have_a_target(page: Page) -> None:
    """The file of a relative link exists, and the heading that it names."""
    for target in _LINK.findall(page.prose()):
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.path.parent / name).resolve() if name else page.path
        assert path.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(path), f"{page.name}: there is no heading for {target}"
