"""The glossary defines terms that the documentation uses."""

import re
from functools import cache

import pytest

from tests.docs.markdown import page, pages

GLOSSARY = page("glossary")
TERMS = re.findall(r"^(\w.*)\n  ", next(GLOSSARY.blocks()).code, flags=re.MULTILINE)


def test_the_terms_are_in_order() -> None:
    """The terms are sorted, and each is defined once."""
    assert len(TERMS) > 40
    assert [term.lower() for term in TERMS] == sorted({term.lower() for term in TERMS})


@cache
def prose() -> str:
    """Return the text of the other pages, with single spaces."""
    others = [page for page in pages() if page.name not in ("docs/glossary.md", "README.md")]
    return " ".join(" ".join(page.prose() for page in others).split())


@pytest.mark.parametrize("term", TERMS)
def test_a_term_is_used(term: str) -> None:
    """Each term stands in a page beside the glossary."""
    assert re.search(rf"\b{re.escape(term)}", prose(), flags=re.IGNORECASE), term
