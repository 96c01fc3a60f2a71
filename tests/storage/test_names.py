"""Names of files: what is left of a hostile one, and how a header carries it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.http import parse_options_header

from flask_convex_http.storage.names import clean_name, disposition


@pytest.mark.parametrize(
    ("given_name", "kept"),
    [
        ("report.pdf", "report.pdf"),
        ("résumé (1).pdf", "résumé (1).pdf"),
        ("写真.jpg", "写真.jpg"),
        ("👩‍👩‍👧.png", "👩‍👩‍👧.png"),  # joined by U+200D, which is no mark of direction
        ('a"b;c=d.txt', 'a"b;c=d.txt'),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\a\\report.doc", "report.doc"),
        ("a\r\nSet-Cookie: b=c.txt", "aSet-Cookie: b=c.txt"),
        ("\u202egnp.exe", "gnp.exe"),
        ("a\u2066\u200fb\x00\x7f\ud800.txt", "ab.txt"),
        ("  a.txt . ", "a.txt"),
        (".htaccess", ".htaccess"),
        ("..", None),
        ("a/..", None),
        ("a/", None),
        ("", None),
        (" \t\n", None),
        (None, None),
    ],
)
def test_names_are_cleaned(given_name: str | None, kept: str | None) -> None:
    """Folders, control characters, half surrogates and marks of direction are removed, all else is kept."""
    assert clean_name(given_name) == kept


def test_long_names_keep_their_ending() -> None:
    """A name of more than 255 bytes is cut between two characters, before its ending."""
    assert clean_name("é" * 300 + ".jpeg") == "é" * 125 + ".jpeg"
    assert clean_name("a" * 300) == "a" * 255
    assert clean_name("a." + "b" * 300) == "a." + "b" * 253


@given(name=st.text(max_size=300))
def test_any_name_makes_one_safe_header(name: str) -> None:
    """A header is printable ASCII, and a parser finds the cleaned name in it."""
    cleaned: Any = clean_name(name)
    for kind in ("inline", "attachment"):
        header = disposition(kind, cleaned)
        assert header.isascii() and header.isprintable()
        assert clean_name(cleaned) == cleaned
        assert parse_options_header(header) == (kind, {} if cleaned is None else {"filename": cleaned})


def test_old_clients_get_a_plain_name() -> None:
    """A name that is not plain ASCII has a fallback, in which nothing ends the quotation."""
    assert disposition("inline", None) == "inline"
    assert disposition("attachment", "a b.txt") == 'attachment; filename="a b.txt"'
    assert disposition("attachment", "é.txt") == "attachment; filename=\"e.txt\"; filename*=UTF-8''%C3%A9.txt"
    assert disposition("attachment", 'a"\\%41.txt').startswith('attachment; filename="a___41.txt"; filename*=')
    assert disposition("attachment", "写真").startswith('attachment; filename="file"; filename*=')
