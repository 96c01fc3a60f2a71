"""The page of errors has every error class with its status, and quotes messages that exist."""

import ast
import re
from functools import cache

import pytest

import flask_convex_http
from flask_convex_http import ConvexHTTPError
from tests.child_processes import ROOT
from tests.docs.markdown import page, spans, table_rows

ERRORS = page("errors")
_QUOTE = re.compile(r"(`+) ?(.+?) ?\1")
#: Conversions of the logging module's messages.
_CONVERSION = re.compile(r"%[srdg]")


def errors(*, public: bool) -> dict[str, type[ConvexHTTPError]]:
    """Return the exported errors that clients see, or those that they do not."""
    exported = vars(flask_convex_http).items()
    found = {name: value for name, value in exported if isinstance(value, type) and issubclass(value, ConvexHTTPError)}
    return {name: value for name, value in found.items() if value.public is public and value is not ConvexHTTPError}


def test_the_table_has_the_statuses_of_the_code() -> None:
    """Each error class is in the table of statuses once, with its status."""
    rows = table_rows(ERRORS.sections()["Responses"].partition("### Statuses")[2].partition("These statuses")[0])
    table = {name: row[0] for row in rows for name in spans(row[1])}
    expected = {name: str(error.status) for name, error in (errors(public=True) | errors(public=False)).items()}
    assert table == expected | {"ConvexError": "400 to 599"}


def test_every_class_is_explained() -> None:
    """Each error class has an entry with its cause."""
    explained = re.findall(r"^`(\w+)`\n: ", ERRORS.text, flags=re.MULTILINE)
    assert sorted(explained) == sorted(errors(public=True) | errors(public=False))


@cache
def messages() -> list[str]:
    """Return the message templates of the package, with `…` for each placeholder."""
    found = []
    for path in sorted((ROOT / "flask_convex_http").rglob("*.py")):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        found += [_flat(node) for node in nodes if isinstance(node, ast.Constant | ast.JoinedStr)]
    return found


def _flat(node: ast.expr) -> str:
    """Return a string or an f-string as text."""
    if isinstance(node, ast.Constant):
        return _CONVERSION.sub("…", str(node.value))
    values = node.values if isinstance(node, ast.JoinedStr) else []
    return "".join(_flat(value) if isinstance(value, ast.Constant) else "…" for value in values)


def quoted() -> list[str]:
    """Return the messages in the tables of messages."""
    tables = [text for text in ERRORS.sections().values() if "\n| Message |" in text]
    return [quote for text in tables for row in table_rows(text) for _, quote in _QUOTE.findall(row[0])]


@pytest.mark.parametrize("quote", quoted())
def test_a_quoted_message_exists(quote: str) -> None:
    """Each quoted message of the page occurs in the package, with its words in the same order."""
    pattern = ".*".join(re.escape(part) for part in quote.split("…") if part.strip())
    assert any(re.search(pattern, message, flags=re.DOTALL) for message in messages()), quote
