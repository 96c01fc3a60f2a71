"""The page of settings says what the code says, and no page names a setting that does not exist."""

import re

import pytest

from flask_convex_http.config import _PARSERS, Settings
from tests.docs.markdown import Page, page, pages, spans

SETTINGS = page("reference/settings")


def test_every_setting_is_in_the_table_with_its_default() -> None:
    """The table has each key once, in the order of the code, with the default of the code."""
    table = {spans(row[0])[0]: spans(row[1])[0] for row in SETTINGS.rows() if "](#convex_" in row[0]}
    defaults = Settings()
    assert table == {key: str(getattr(defaults, key.removeprefix("CONVEX_").lower())) for key in _PARSERS}
    assert list(table) == list(_PARSERS)


def test_every_setting_has_a_section() -> None:
    """Each key has one heading, under which its values are described."""
    headings = re.findall(r"^### `(CONVEX_\w+)`$", SETTINGS.text, flags=re.MULTILINE)
    assert sorted(headings) == sorted(_PARSERS)


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in pages()])
def test_no_setting_is_made_up(page: Page) -> None:
    """Every CONVEX_ key that a page names is one the package reads; the page of settings shows one misspelling."""
    named = set(re.findall(r"\b(?:FLASK_)?(CONVEX_[A-Z_]+[A-Z])\b", page.text))
    assert named - {"CONVEX_WORKR"} <= set(_PARSERS)
