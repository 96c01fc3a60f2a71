"""The page of settings matches the code, and no page names an unknown setting."""

import re

import pytest

from flask_convex_http.config import PARSERS, Settings
from tests.docs.markdown import Page, page, pages, spans

SETTINGS = page("reference/settings")
LIMITS = [row for row in page("concepts/limits").rows() if "`CONVEX_" in row[1]]


def test_every_setting_is_in_the_table_with_its_default() -> None:
    """The table has each key once, in the order of the code, with its default."""
    table = {spans(row[0])[0]: spans(row[1])[0] for row in SETTINGS.rows() if "](#convex_" in row[0]}
    defaults = Settings()
    assert table == {key: str(getattr(defaults, key.removeprefix("CONVEX_").lower())) for key in PARSERS}
    assert list(table) == list(PARSERS)


def test_every_setting_has_a_section() -> None:
    """Each key has one heading, under which its values are described."""
    headings = re.findall(r"^### `(CONVEX_\w+)`$", SETTINGS.text, flags=re.MULTILINE)
    assert sorted(headings) == sorted(PARSERS)


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in pages()])
def test_no_setting_is_made_up(page: Page) -> None:
    """Every CONVEX_ key in a page is a setting, except a misspelling as an example, and variables of Convex's CLI."""
    named = set(re.findall(r"\b(?:FLASK_)?(CONVEX_[A-Z_]+[A-Z])\b", page.text))
    assert named - {"CONVEX_WORKR", "CONVEX_SELF_HOSTED_URL", "CONVEX_SELF_HOSTED_ADMIN_KEY"} <= set(PARSERS)


def as_written(value: float) -> str:
    """Return a default in the notation of the page of limits."""
    units = [unit for unit in (2**30, 2**20) if value >= unit]
    return f"{value / units[0]:g} {'GiB' if units[0] == 2**30 else 'MiB'}" if units else f"{value:g}"


@pytest.mark.parametrize("row", [pytest.param(row, id=row[0]) for row in LIMITS])
def test_a_limit_that_is_a_setting_has_its_default(row: list[str]) -> None:
    """The page of limits gives the default of each setting that it names."""
    [key] = [span for span in spans(row[1]) if span.startswith("CONVEX_")]
    assert as_written(getattr(Settings(), key.removeprefix("CONVEX_").lower())) in row[1]
